"""A network as a table: a row for each module, in text for ``fastbp.summary`` and in HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from fastbp.nn.parameter import Parameter

if TYPE_CHECKING:
    from fastbp.nn.module import Module


class OutlineRow(NamedTuple):
    """A module in a table.

    Attributes
    ----------
    module : Module
    name : str
        Dotted; "" for the whole.
    kind : str
        Its class, with its settings where it holds no other modules.
    shapes : str
        Of its own parameters.
    parameters : int
        The number of its own, without those that a row before has.
    trained : "trained", "frozen", "in part" or ""
        Whether its own parameters are trained; "" if it has none.
    """

    module: Module
    name: str
    kind: str
    shapes: str
    parameters: int
    trained: str


def outline(model: Module) -> list[OutlineRow]:
    """Return a row for ``model`` and each module in it."""
    seen: set[Parameter] = set()
    rows = []
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if isinstance(value, Parameter)}
        new = set(own.values()) - seen
        seen |= new
        is_container = next(module.named_children(), None) is not None
        kind = type(module).__name__ if is_container else f"{type(module).__name__}({module.extra_repr()})"
        shapes = ", ".join(f"{key} {parameter.shape}" for key, parameter in own.items())
        flags = {parameter.requires_grad for parameter in own.values()}
        trained = "in part" if len(flags) > 1 else "trained" if True in flags else "frozen" if flags else ""
        rows.append(OutlineRow(module, name, kind, shapes, sum(parameter.size for parameter in new), trained))
    return rows


def total(model: Module) -> str:
    """Return in words how many parameters a model has, and how many of them are trained."""
    parameters = list(model.parameters())
    count, size = sum(each.size for each in parameters), sum(each.size * each.dtype.itemsize for each in parameters)
    trained = sum(each.size for each in parameters if each.requires_grad)
    return f"{count:,} parameters ({bytes_in_words(size)}), {trained:,} of them trained"


def bytes_in_words(size: int) -> str:
    """Return a size as people read it, such as "1.5 MB"."""
    number, units = float(size), ["B", "kB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{size} B" if units[0] == "B" else f"{number:.3g} {units[0]}"


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]], foot: str) -> str:
    """Return a table in HTML, which looks as the notebook's other tables do."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(foot)}</p>"


def html_of(model: Module) -> str:
    """Return the table of a model's modules with their parameters."""
    rows = [(row.name, row.kind, row.shapes, f"{row.parameters:,}", row.trained) for row in outline(model)]
    return html_table(("name", "module", "shapes", "parameters", ""), rows, total(model))
