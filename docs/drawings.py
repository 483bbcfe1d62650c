"""Drawings of the page on internals, which ``conf.py`` makes: boxes and arrows by matplotlib."""

from pathlib import Path

from matplotlib import pyplot
from matplotlib.patches import FancyBboxPatch

INK, BLUE, GREEN, SAND, GREY = "#20303f", "#dbe8f6", "#dff0e2", "#fbeed8", "#ececec"
FOLDER = Path(__file__).parent / "_static" / "made"


def draw_all():
    FOLDER.mkdir(parents=True, exist_ok=True)
    _house()
    _mini_batch()


def _axes(width, height):
    figure, ax = pyplot.subplots(figsize=(width, height), facecolor="white")
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure, ax


def _box(ax, x, y, width, height, title, text="", colour=BLUE):
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor=INK, linewidth=0.8))
    middle = x + width / 2
    if text:
        ax.text(middle, y + height * 0.68, title, ha="center", va="center", weight="bold", size=9, color=INK)
        ax.text(middle, y + height * 0.31, text, ha="center", va="center", size=7.5, color=INK)
    else:
        ax.text(middle, y + height / 2, title, ha="center", va="center", weight="bold", size=9, color=INK)


def _arrow(ax, start, stop, colour=INK):
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", stop, start, arrowprops=arrow)


def _save(figure, name):
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def _house():
    """Rooms, storey by storey: imports run down."""
    figure, ax = _axes(10, 6.1)
    storeys = [
        ("who asks", [("commands", "python -m fastbp"), ("sklearn", "estimators"), ("integrations", "Optuna"),
                      ("sweep", "processes, machines")], SAND),
        ("files", [("checkpoint", "save, load"), ("interop", "C, ONNX, PyTorch")], SAND),
        ("trainings", [("training", "train_model, train_models, history"), ("optim", "optimisers, schedules")], BLUE),
        ("networks", [("nn", "modules, losses"), ("engine", "plan, session, predictor"),
                      ("autograd", "tensors, passes")], BLUE),
        ("ground", [("runtime", "threads, locks, interrupts"), ("validation", "what users hand over")], BLUE),
        ("kernels", [("network", "a mini-batch's way"), ("layers", "normalisation, dropout, ..."),
                     ("functions", "activations, losses, steps"), ("linalg", "the tile, products"),
                     ("compiler", "numba, the cache")], GREEN),
    ]  # fmt: skip
    for number, (name, rooms, colour) in enumerate(storeys):
        y = 5.15 - 0.93 * number - (0.2 if number == 5 else 0)
        ax.text(0.1, y + 0.35, name, size=9, va="center", color=INK, style="italic")
        width = 8.6 / len(rooms)
        for place, (title, text) in enumerate(rooms):
            _box(ax, 1.25 + place * width, y, width - 0.12, 0.72, title, text, colour)
    ax.plot([1.25, 9.75], [1.25, 1.25], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.text(1.25, 0.14, "fastbp above the line, fastbp_kernels below it", size=8, color=INK, style="italic")
    ax.text(9.75, 0.12, "numba, NumPy", ha="right", size=8, color=INK, style="italic")
    _arrow(ax, (0.95, 5.7), (0.95, 0.2))
    _save(figure, "house")


def _mini_batch():
    """Forward from left to right, gradients back, the step into the flat vectors."""
    figure, ax = _axes(10, 4.4)
    _box(ax, 0.1, 2.6, 1.35, 0.95, "rows", "gathered by\ntheir order", SAND)
    _box(ax, 2.1, 2.6, 1.7, 0.95, "layer 0", "X W' + b in the tile,\nactivation")
    _box(ax, 4.45, 2.6, 1.7, 0.95, "layer 1", "X W' + b in the tile,\nactivation")
    _box(ax, 6.8, 2.6, 1.4, 0.95, "loss", "value, and its\ngradient", SAND)
    _box(ax, 8.75, 2.6, 1.15, 0.95, "target", "", SAND)
    for start, stop in ((1.45, 2.1), (3.8, 4.45), (6.15, 6.8)):
        _arrow(ax, (start, 3.3), (stop, 3.3))
    _arrow(ax, (8.75, 3.07), (8.2, 3.07))
    for start, stop in ((6.8, 6.15), (4.45, 3.8)):
        _arrow(ax, (start, 2.85), (stop, 2.85), colour="#b03a2e")
    ax.text(5.0, 3.85, "forward: a block of rows goes through all layers and stays in cache", ha="center", size=8,
            color=INK)  # fmt: skip
    ax.text(5.75, 2.0, "backward: the gradient of each input,\nthen of the parameters", va="center", size=8,
            color="#b03a2e")
    _box(ax, 2.1, 0.95, 4.05, 0.55, "gradients, one flat vector", "", GREEN)
    _box(ax, 2.1, 0.1, 4.05, 0.55, "parameters, one flat vector", "", GREEN)
    _box(ax, 7.0, 0.1, 2.9, 1.4, "optimiser", "clip, one formula over the\nflat vectors, its state beside", BLUE)
    for x in (2.6, 5.6):
        _arrow(ax, (x, 2.6), (x, 1.5), colour="#b03a2e")
    _arrow(ax, (6.15, 1.22), (7.0, 1.22), colour="#b03a2e")
    _arrow(ax, (7.0, 0.37), (6.15, 0.37))
    _save(figure, "mini_batch")


if __name__ == "__main__":
    draw_all()
