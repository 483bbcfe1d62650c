"""Values of every loss by their definitions, and gradients by finite differences."""

import numpy
import oracles
import pytest
from helpers import assert_gradient, finite_difference
from loss_cases import CASES

from fastbp_kernels.functions.losses.registry import LOSSES

OVER_ROWS = {row.name for row in LOSSES if row.over == "rows"}


def expected_values(case, criterion, x, y):
    """The losses one by one."""
    row, options = criterion.row_for(y), dict(case.options)
    if row in OVER_ROWS:
        weights, smoothing = options.get("weight"), options.get("label_smoothing", 0.0)
        if row == "NLLLoss":
            weights = weights or [1.0] * x.shape[1]
            return [0.0 if own == criterion.ignore_index else -weights[own] * line[own] for line, own in zip(x, y)]
        if row == "CrossEntropyLoss:probabilities":
            return [oracles.class_loss(line, p, weights, smoothing) for line, p in zip(x, y)]
        one_hot = numpy.eye(x.shape[1])
        values = []
        for line, own in zip(x, y):  # torch weighs the class of a smoothed target by its own weight
            values.append(
                0.0 if own == criterion.ignore_index else oracles.class_loss(line, one_hot[own], weights, smoothing)
            )
        return values
    per_column = {name: options.pop(name) for name in ("weight", "pos_weight", "quantiles") if name in options}
    settings = {name: value for name, value in options.items() if name not in ("log_input", "log_target", "beta")}
    if options.get("beta"):
        settings["beta"] = options["beta"]
    values = numpy.empty(x.shape)
    for n, k in numpy.ndindex(x.shape):
        own = dict(settings)
        if "pos_weight" in per_column:
            own["pos_weight"] = per_column["pos_weight"][k]
        many = len(per_column.get("quantiles", [0]))
        if "quantiles" in per_column:
            own["level"] = per_column["quantiles"][k % many]
        weight = per_column.get("weight", [1.0])
        values[n, k] = weight[k % len(weight)] * oracles.element_loss(row, x[n, k], y[n, k // many], **own)
    return values


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_are_the_oracles(case):
    x, y = case.data(numpy.float64)
    criterion = case.ours("none")
    expected = expected_values(case, criterion, x, y)
    numpy.testing.assert_allclose(criterion(x, y), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_finite_differences(case):
    x, y = case.data(numpy.float64, n=5)
    if case.kind == "probabilities":
        x = 0.25 + x / 2  # where the formula of the differences is exact enough
    criterion, weights = case.ours(), numpy.arange(1.0, 6.0)
    criterion(x, y, weights)
    assert_gradient(criterion.backward(), finite_difference(lambda: criterion.evaluate(x, y, weights), x))
