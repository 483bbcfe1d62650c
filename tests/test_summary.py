"""Tables of a model's modules: ``fastbp.summary``, and what a notebook shows of a module."""

from html.parser import HTMLParser

import numpy
import pytest
from helpers import draw

import fastbp
from fastbp import nn


class Own(nn.Module):
    def __init__(self):
        self.inner = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh())

    def forward(self, input):
        return self.inner(input)[:, :2]

    def extra_repr(self):
        return "<b>&"


def network():
    first, second = nn.Linear(5, 4, rng=0), nn.Linear(4, 4, False, rng=1)
    second.weight.requires_grad = False
    return nn.Sequential({"first": first, "block": nn.Residual(second, nn.ReLU()), "norm": nn.LayerNorm(4)})


def test_a_summary_has_shapes_parameters_and_what_is_trained():
    table = fastbp.summary(network(), (10, 5))
    assert [(row.name, row.output_shape, row.parameters, row.trained) for row in table.rows] == [
        ("", (10, 4), 0, ""),
        ("first", (10, 4), 24, "trained"),
        ("block", (10, 4), 0, ""),
        ("block.0", (10, 4), 16, "frozen"),
        ("block.1", (10, 4), 0, ""),
        ("norm", (10, 4), 8, "trained"),
    ]
    assert (table.parameters, table.trained_parameters) == (48, 32)
    assert (table.parameter_bytes, table.output_bytes) == (4 * 48, 4 * 4 * 40)


def test_a_summary_reads_as_a_table():
    table = str(fastbp.summary(network(), draw((10, 5), numpy.float32))).splitlines()
    assert table == [
        "name     module                                               output   parameters",
        "-" * max(map(len, table[2:8])),
        "         Sequential                                           (10, 4)",
        "first    Linear(in_features=5, out_features=4, bias=True)     (10, 4)          24  trained",
        "block    Residual                                             (10, 4)",
        "block.0  Linear(in_features=4, out_features=4, bias=False)    (10, 4)          16  frozen",
        "block.1  ReLU()                                               (10, 4)",
        "norm     LayerNorm((4,), eps=1e-05, elementwise_affine=True)  (10, 4)           8  trained",
        "48 parameters (192 B), 32 of them trained; outputs of all modules 640 B",
    ]


def test_a_summary_leaves_the_model_as_it_was():
    model = network()
    before, x = model.state_dict(), draw((10, 5), numpy.float32)
    output = model(x)
    fastbp.summary(model, x)
    model.backward(numpy.ones_like(output))
    assert model.training
    for name, array in before.items():
        numpy.testing.assert_array_equal(model.state_dict()[name], array)


def test_a_class_of_ones_own_has_a_shape_and_what_is_inside_has_none():
    table = fastbp.summary(nn.Sequential(Own(), nn.Linear(2, 1, rng=0)), (3, 4))
    shapes = {row.name: row.output_shape for row in table.rows}
    assert shapes == {"": (3, 1), "0": (3, 2), "0.inner": None, "0.inner.0": None, "0.inner.1": None, "1": (3, 1)}


def test_a_shared_parameter_counts_once():
    one, other = nn.Linear(4, 4, False, rng=0), nn.Linear(4, 4, False, rng=1)
    other.weight = one.weight
    table = fastbp.summary(nn.Sequential(one, other), (2, 4))
    assert [row.parameters for row in table.rows] == [0, 16, 0]
    assert table.parameters == 16


def test_a_summary_takes_a_model_and_what_the_model_takes():
    with pytest.raises(TypeError, match="summary takes a Module, got int"):
        fastbp.summary(3, (1, 2))
    with pytest.raises(ValueError, match="takes inputs of shape"):
        fastbp.summary(network(), (10, 6))


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.rows = [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def cells(html):
    parser = Cells()
    parser.feed(html)
    assert parser.open == []
    return parser.rows


def test_a_notebook_shows_modules_with_shapes_and_parameters():
    html = network()._repr_html_()
    rows = cells(html)
    assert rows[0] == ["name", "module", "shapes", "parameters", ""]
    linear = "Linear(in_features=5, out_features=4, bias=True)"
    assert rows[2] == ["first", linear, "weight (4, 5), bias (4,)", "24", "trained"]
    assert "48 parameters (192 B), 32 of them trained" in html
    assert [row[0] for row in cells(fastbp.summary(network(), (1, 5))._repr_html_())] == [row[0] for row in rows]


def test_text_of_the_users_is_no_html():
    class Leaf(nn.Module):
        def extra_repr(self):
            return "<b>&"

    rows = cells(nn.Sequential({"<i>": Leaf()})._repr_html_())
    assert rows[2][:2] == ["<i>", "Leaf(<b>&)"]
