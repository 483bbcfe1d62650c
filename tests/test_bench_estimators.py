"""The benchmark of the estimators: how often a fit is timed, what a run that was cut off keeps, what its table has."""

import pytest

from bench import estimators, estimators_report
from bench.estimators import kept_rows, turns
from bench.estimators_report import Row, format_rows, verdicts


def timed(name, seconds):
    """A row whose fits of each library took ``seconds`` of it."""
    row = Row(name)
    for library, threads in turns(row, estimators_report.ROUNDS):
        row.note(library, threads, seconds[library])
    return row


def test_fits_that_take_long_are_timed_less_often_and_once_at_the_least():
    row = timed("fit", {"scikit-learn": 10.0, "fastbp": 1.0, "fastbp, float32": 0.1})
    counts = {library: [len(times) for times in by.values()] for library, by in row.seconds.items()}
    assert counts == {"scikit-learn": [1, 1], "fastbp": [3, 3], "fastbp, float32": [estimators_report.ROUNDS] * 2}
    assert row.ratio == 10.0
    line = format_rows([row]).splitlines()[1]
    assert "1e+04 (1) / 1e+04 (1)" in line
    assert "1e+03 (3) / 1e+03 (3)" in line
    assert "100 / 100 " in line


def test_a_run_goes_on_with_the_rows_of_the_same_machine_and_versions():
    facts = {"cores": "2", "numpy": "2.0"}
    table = {"machine": facts | {"more": "1"}, "seconds": {"fit": {"fastbp": {"1": [0.5], "2": [0.25]}}}}
    assert kept_rows(None, facts) == {}
    rows = kept_rows(table, facts)
    assert rows["fit"].seconds == {"fastbp": {1: [0.5], 2: [0.25]}}
    assert rows["fit"].best("fastbp") == 0.25
    with pytest.raises(SystemExit, match="measured with another numpy; begin anew"):
        kept_rows(table, facts | {"numpy": "2.1"})


def test_goals_are_judged_by_the_rows_that_are_there():
    assert list(verdicts({})) == []
    seconds = {"scikit-learn": 1.0, "fastbp": 0.25, "fastbp, float32": 0.1}
    fits = [name for name, _ in estimators.fits(quick=False)]
    lines = list(verdicts({name: timed(name, seconds) for name in fits}))
    assert lines == [
        "fits: 4.0 × in the geometric mean; at least 10 ×: NO",
        f"each fit: 4.0 × at the least: {fits[0]}; at least 3 ×: yes",
    ]
    names = [name for name, _ in estimators.search(quick=False)]
    rows = {name: Row(name, {"fastbp": {1: [2.0 - number]}}) for number, name in enumerate(names)}
    rows[names[0]].note("scikit-learn", 1, 20.0)
    lines = list(verdicts(rows))
    assert lines[0] == "search: 10.0 × in two processes; at least 8 ×: yes"
    assert lines[1].endswith("2.00 s in processes, 1.00 s in threads, 0.00 s alone: NO")
