"""Fills in docs/equivalence.md and draws its figure, from the runs that the tests judge: ``make equivalence``."""

import re
from pathlib import Path

import numpy
import torch
from accuracy import product_errors, ulp_errors
from matplotlib import pyplot
from parts import part_errors
from torch_samples import outcomes
from tqdm import tqdm
from trainings import FASTBP, TORCH, TRAININGS, Training, follow

from bench import machine
from fastbp.plots import COLOURS, LINES, STYLE

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURE = DOCS / "equivalence.md", DOCS / "equivalence.png"
DRAWN = [Training("disk", "ReLU", "mean", dtype, 1000, draw) for draw in (1, 0) for dtype in ("float64", "float32")]
LABELS = ("fastbp", "PyTorch, rows reversed", "PyTorch, inputs reversed")
COLUMNS = (
    "task",
    "activation",
    "reduction",
    "dtype",
    "steps",
    "fastbp",
    "PyTorch",
    "fastbp, one step",
    "PyTorch, one step",
)


def main():
    torch.set_num_threads(1)
    runs = [*TRAININGS, *(training for training in DRAWN if training not in TRAININGS)]
    courses = {training: course(training) for training in tqdm(runs, desc="trainings")}
    tried = outcomes()
    refused = [outcome for outcome in tried if outcome.result != "equal"]
    counts = f"{len(tried) - len(refused)} of {len(tried)} samples are equal. The others:\n\n"
    sections = {
        "versions": versions(),
        "trainings": table(COLUMNS, map(training_row, courses.values())),
        "functions": figures(ulp_errors()),
        "parts": figures(part_errors()),
        "products": figures(product_errors()),
        "samples": counts + figures(refused),
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, text in sections.items():
        page = filled_in(page, name, text)
    PAGE.write_text(page, encoding="utf-8")
    draw([courses[training] for training in DRAWN])
    print(f"wrote docs/{PAGE.name} and docs/{FIGURE.name}")


def course(training):
    return follow(training, FASTBP + TORCH, one_step=FASTBP + TORCH)


def training_row(course):
    training, steps = course.training, len(course.apart[FASTBP[0]])
    task = training.task if training in TRAININGS else f"{training.task}, chaotic"
    yield from (task, training.activations, training.reduction, training.dtype, steps)
    yield from (f"{course.largest(runners)[-1]:.1e}" for runners in (FASTBP, TORCH))
    for runners in (FASTBP, TORCH):
        yield f"{max(numpy.quantile(course.one_step[runner], 0.999) for runner in runners):.1e}"


def draw(courses):
    """A panel for each course: the largest difference so far of fastbp, and of each run of torch from torch."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, 2, figsize=(7.2, 5.4), sharex=True, sharey="col", layout="constrained")
        for ax, course in zip(axes.flat, courses, strict=True):
            for runner, label, colour, line in zip(FASTBP + TORCH, LABELS, COLOURS, LINES, strict=False):
                values = course.largest((runner,))
                steps = numpy.unique(numpy.geomspace(1, len(values), 1000).astype(int))
                ax.plot(steps, values[steps - 1], color=colour, linestyle=line, label=label)
            kind = "the tests' draw" if course.training in TRAININGS else "a chaotic draw"
            ax.set(xscale="log", yscale="log")
            ax.set_title(f"{course.training.dtype}, {kind}", fontsize=9.5)
        axes[0][0].axhline(1e-9, color="black", linewidth=0.8)
        axes[0][0].text(1, 1.6e-9, "limit of the tests", fontsize=8)
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LABELS))
        figure.supxlabel("step", fontsize=10)
        figure.supylabel("largest relative difference from PyTorch so far", fontsize=10)
        figure.savefig(FIGURE, dpi=200)
    pyplot.close(figure)


def versions():
    here = machine.describe()
    names = {"python": "Python", "numpy": "NumPy", "numba": "numba", "torch": "PyTorch"}
    return f"Last run: {', '.join(f'{label} {here[name]}' for name, label in names.items())}; {here['processor']}."


def filled_in(page, name, text):
    """The page with ``text`` between the marks of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = rf"{re.escape(begin)}.*?{re.escape(end)}"
    page, count = re.subn(pattern, lambda match: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} sections between {begin} and {end}, not one")
    return page


def figures(rows):
    """A table of NamedTuples under the names of their fields."""
    return table([name.replace("_", " ") for name in rows[0]._fields], rows) if rows else "None."


def table(header, rows):
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
