"""What is told while a progress bar is shown."""

import logging
import sys

from fastbp.training.progress import ProgressBar


def test_a_message_stands_on_a_line_of_its_own_and_the_bar_below_it(capsys):
    logger, handler = logging.getLogger("fastbp"), logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    try:
        bar = ProgressBar(True, 10)
        logger.warning("compiling")
        bar.advance(10)
        bar.close()
        logger.warning("over")
    finally:
        logger.removeHandler(handler)
    message, line, after = capsys.readouterr().err.split("\n")[:3]
    assert message.rpartition("\r")[2] == "compiling"
    assert "10/10" in line
    assert after == "over"
    assert logger.filters == []
