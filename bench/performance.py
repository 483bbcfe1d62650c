"""Writes ``docs/performance.md`` from the results in ``bench/results``: ``python -m bench.performance``.

Measures nothing. Figures are drawn anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import estimators_report, loops, many_report, noise, small, small_map, speed_report, wide_report
from bench.compare import PAIRS, THRESHOLD, judge
from bench.goals import COPIES, MANY
from bench.speed_report import wrapped
from bench.tables import load_table
from bench.workloads import DISK

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
LABELS = {"python": "Python", "numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}


def main() -> None:
    speed_report.draw(speed_report.load())
    table = load_table(small.NAME)
    if table:
        small_map.draw(table)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print("wrote docs/performance.md")


def page() -> str:
    """Return the whole page."""
    speed = speed_report.load()
    sections = [
        "<!-- written by `make performance` from bench/results -->",
        "# Performance",
        _measured(speed),
        "## Beside the others",
        f"![Time of each library over fastbp's](../bench/results/{speed_report.NAME}.png)",
        "The time of each library over that of fastbp, logarithmic; the number stands at the nearest one.",
        *(speed_report.format_table(speed, dtype) for dtype in speed["results"]),
        "## How small is small",
        *_small(load_table(small.NAME)),
        "## Loops of one's own",
        *_loops(load_table(loops.NAME)),
        "## In the place of scikit-learn's estimators",
        *_estimators(load_table(estimators_report.NAME)),
        "## Wide layers, on several machines",
        *_wide(load_table(wide_report.NAME)),
        "## Many models in one call",
        *_many(load_table(many_report.NAME), speed),
        "## From commit to commit",
        *_noise(load_table(noise.NAME)),
        OWN_MACHINE,
        NOT_MEASURED,
    ]
    return "\n\n".join(sections) + "\n"


def _measured(table: dict[str, Any]) -> str:
    return wrapped(
        f"Measured on {table['date']}, {table['rounds']} rounds in turn, medians; {_machine(table['machine'])}. "
        "Every library starts from the same weights, takes the same rows in the same order, and must have arrived at "
        "the same weights after an epoch. Each runs in processes of its own, bound to one core or to two. Compiling, "
        "loading and warming up are not part of the times, except where a row says so."
    )


def _machine(machine: dict[str, str]) -> str:
    versions = (f"{LABELS.get(k, k)} {v}" for k, v in machine.items() if k not in ("processor", "cores", "system"))
    return f"{machine['cores']} cores of {machine['processor']}, {machine['system']}, {', '.join(versions)}"


def _small(table: dict[str, Any] | None) -> list[str]:
    if table is None:
        return ["Not measured yet; `python -m bench.small` does."]
    return [
        f"![Width by mini-batch: time of PyTorch and of JAX over fastbp's](../bench/results/{small.NAME}.png)",
        wrapped(
            "A training step of ReLU networks of three layers of equal width, float32, each library at its better "
            "number of threads, one or two. Blue cells are where fastbp is ahead, and the black line is where the "
            f"other is as fast. {small_map.in_words(table)} Measured on {table['date']}; {_machine(table['machine'])}."
        ),
    ]


def _loops(table: dict[str, Any] | None) -> list[str]:
    if table is None:
        return ["Not measured yet; `python -m bench.loops` does."]
    text = (
        "Loops in PyTorch's words with `loss.backward()`, from one text for both libraries, beside PyTorch's eager "
        "mode: float32, one thread each, the least of some rounds in turn. "
        f"Measured on {table['date']}; {_machine(table['machine'])}."
    )
    return [wrapped(text), loops.format_table(table["loops"])]


def _estimators(table: dict[str, Any] | None) -> list[str]:
    if table is None:
        return ["Not measured yet; `python -m bench.estimators` does."]
    text = (
        "scikit-learn's `MLPClassifier` and `MLPRegressor` and those of `fastbp.sklearn`, by the same calls in turn, "
        "which must have trained as many epochs to the same loss. The last column compares with float64. Measured on "
        f"{table['date']}; {_machine(table['machine'])}."
    )
    rows = estimators_report.rows_of(table)
    lines = "\n".join(f"- {line}" for line in estimators_report.verdicts(rows))
    return [wrapped(text), f"```\n{estimators_report.format_rows(rows.values())}\n```", lines]


def _wide(machines: dict[str, Any] | None) -> list[str]:
    if machines is None:
        return ["Not measured yet; `python -m bench.wide` does."]
    text = (
        "fastbp's time for a training step and the threads that it takes, at its best number of them; then the time of "
        "each other at its best number over that. Of products, PyTorch's time over that of fastbp, the geometric mean "
        "and the least of all shapes and passes. Each library has processes of its own, which work in turn; the least "
        "of some rounds. `python -m bench.wide` measures another machine's column in four minutes."
    )
    named = (f"- {_machine(table['machine'])}; measured on {table['date']}." for table in machines.values())
    return [wrapped(text), wide_report.format_columns(machines), "\n".join(wrapped(line) for line in named)]


def _many(table: dict[str, Any] | None, speed: dict[str, Any]) -> list[str]:
    if table is None:
        return ["Not measured yet; `python -m bench.many` does."]
    text = (
        "`train_models` on two threads, beside `torch.func.vmap` and JAX's `vmap` within `scan`, each at its better "
        "number of threads, one or two; beside itself on one thread, beside `GridSearchCV` over `fastbp.sklearn`, and "
        "beside `train_model`. Models are new in each round; checking and planning them is part of the time, building "
        "them is not, nor what the others compile. fastbp trains 50 epochs in a round, of 4,096 copies 10. The best of "
        f"some rounds in turn. Measured on {table['date']}; {_machine(table['machine'])}."
    )
    return [wrapped(text), many_report.format_table(table), *_bound_of_copies(table["seconds"], speed)]


def _bound_of_copies(seconds: dict[str, Any], speed: dict[str, Any]) -> list[str]:
    """Say how long a step of a copy takes at the least, and how long it may take for the goals that were measured."""
    goals = [goal for goal in MANY if goal.row in COPIES.values() and goal.row in seconds]
    asked = sorted(goal.fastest_other(seconds[goal.row])[1] / goal.factor * 1e6 for goal in goals)
    if not asked:
        return []
    copy = speed["results"]["float32"][DISK.name]  # the same network, batch and loss
    least = copy["flop"] / copy["limit"] / 2 * 1e6
    return [
        wrapped(
            f"A step of one copy is {copy['flop'] / 1e3:.0f} kflop: {least:.1f} µs for two cores at the limit of their "
            f"arithmetic. The goals ask for {asked[0]:.1f} to {asked[-1]:.1f} µs."
        )
    ]


def _noise(table: dict[str, Any] | None) -> list[str]:
    """Say what a comparison of two commits can tell apart."""
    parts = [
        wrapped(
            f"`make compare BASE=commit` runs two codes in turn, in {PAIRS} pairs of processes, and calls a workload "
            f"slower if every pair shows more than {THRESHOLD:.0%}. `make bench` measures commits with asv, "
            "`make bench-site` makes its pages, where training, kernels, prediction, scaling, starting and memory have "
            "a group each; `OverTorch` is the figure that compares across machines. The results kept in "
            "`bench/results/asv` begin with the engine's first commit."
        )
    ]
    if table is None:
        return [*parts, "What that tells apart is not measured yet; `python -m bench.noise` does."]
    equal = [ratios for changes in table["equal"] for ratios in changes.values()]
    slower = [ratios for changes in table["slower"].values() for ratios in changes.values()]
    alarms, seen = sum(map(bool, map(judge, equal))), list(map(judge, slower)).count("slower")
    lines = ["| planted in | workload | ratio of each pair |", "|---|---|---|"]
    for kernel, changes in table["slower"].items():
        lines += [f"| {kernel} | {name} | {', '.join(map(str, ratios))} |" for name, ratios in changes.items()]
    parts.append(
        wrapped(
            f"Equal code, compared {len(table['equal'])} times over {len(table['equal'][0])} workloads, raised "
            f"{alarms or 'no'} alarms: the largest change that all pairs agreed on was "
            f"{max(map(_least, equal)) - 1:.1%}. A kernel that does {noise.EXTRA} % more work was seen in {seen} of "
            f"{len(slower)} workloads. {_machine(table['machine'])}."
        )
    )
    return [*parts, "\n".join(lines)]


def _least(ratios: list[float]) -> float:
    """Return the change, up or down, that all pairs agree on; 1 if they don't."""
    return max(min(ratios), 1 / max(ratios), 1.0)


OWN_MACHINE = """## On your own machine

```
make speed                            # every workload beside the others: a quarter of an hour; then the rest
.venv/bin/python -m bench.small       # the map: some minutes
.venv/bin/python -m bench.wide        # wide layers on all cores: four minutes
.venv/bin/python -m bench.noise       # what a comparison can tell apart: three quarters of an hour
make performance                      # this page, from what these have stored
make bench BENCH=OverTorch            # fastbp / PyTorch for every training and kernel, by asv
make compare BASE=HEAD~1              # a commit, or what you have not committed, beside another
```

Close what else runs: a result with `~` had rounds that differ by much. Compare ratios, not microseconds."""

NOT_MEASURED = """## What is not measured

GPUs, and processors other than those above: no Arm, and no more than two cores. Losses,
optimisers and activations beyond those of the rows. `torch.compile` of a whole step, which took 26 s to compile and
then ran slower than the compiled PyTorch of the rows. Reading data from disk. How much energy any of it takes."""


if __name__ == "__main__":
    main()
