"""Short versions of the scripts that ``make soak`` runs. Each runs in a child, where a crash or a hang is seen."""

import json

import everything as soak
import pytest
from report import TESTS, last_line, run_python

SCRIPTS = {
    "random calls crash, hang and mislead nobody": ("fuzz", "--examples", "12", "--derandomize"),
    "every way through a drawn training gives the same bits": ("ways", "--count", "12"),
    "an exception anywhere leaves no lock": ("interrupts", "--count", "1", "--stride", "6007"),
    "a killed sweep goes on": ("sweep_kills", "--count", "6", "--processes", "0"),
    "many trainings go on from Ctrl-C": ("many_interrupts", "--count", "12"),
    "steps and models leave no memory behind": ("growth", "--count", "3000", "--here"),
    "processes that start at once on an empty cache all work": ("starts", "--small", "--count", "2"),
    "threads and pools change no bit": ("pools", "--count", "1", "--ways", "fork", "spawn", "--here"),
    "trainings under load end with the same bits": ("load", "--count", "8"),
    "kernels keep within their arrays": ("bounds", "tests/test_vector_kernels.py::test_steps_of_descent_at_every_size"),
}  # fmt: skip


@pytest.mark.parametrize("what", SCRIPTS)
def test_soak_in_short(what):
    name, *arguments = SCRIPTS[what]
    counts = last_line(run_python(str(TESTS / "soak" / f"{name}.py"), *arguments, seconds=300))
    assert max(value for value in counts.values() if isinstance(value, int)) > 0


def test_the_table_of_the_documentation_is_drawn_from_the_results():
    """After a change of either, ``python tests/soak/everything.py --only`` draws it anew."""
    results = json.loads(soak.RESULTS.read_text()) if soak.RESULTS.exists() else {}
    assert soak.TABLE.read_text() == soak.table(results)


def test_every_script_of_the_soak_is_in_its_list():
    scripts = {path.stem for path in soak.HERE.glob("*.py") if "def main(" in path.read_text()}
    assert scripts - {"everything"} <= set(soak.PROMISES)
