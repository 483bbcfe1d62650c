"""scikit-learn's own tests of its MLPs, of the installed package, run with fastbp's in their place.

What cannot run as it stands, and why:

- ``test_gradient`` calls a private method with scikit-learn's scratch arrays; here the estimators have it for the test.
- ``test_stochastic_optimizers`` steps lists of arrays, where fastbp's steps are the engine's, of a model's parameters:
  here its optimisers are given parameters for the arrays. The steps of Nesterov's momentum and of Adam round once where
  NumPy rounds twice, so that these two tests compare to 1e-15 instead of bit for bit.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy
import pytest
from sklearn import neural_network

import fastbp.sklearn
from fastbp import nn
from fastbp.nn.parameter import Parameter, flatten
from fastbp.sklearn import optimizers
from fastbp.sklearn.lbfgs import loss_and_gradient

pytestmark = pytest.mark.filterwarnings("default")  # they look for warnings themselves, or leave them
FOLDER = Path(neural_network.__file__).parent / "tests"


class _WithPrivateMethod:
    def _loss_grad_lbfgs(self, packed, X, y, sample_weight, *scratch):
        return loss_and_gradient(self, packed, X, y, sample_weight)


class MLPClassifier(_WithPrivateMethod, fastbp.sklearn.MLPClassifier):
    """Of the same parameters."""


class MLPRegressor(_WithPrivateMethod, fastbp.sklearn.MLPRegressor):
    """Of the same parameters."""


def _tests_of(name, replaced_in, **replacements):
    """The test functions of an installed file, in which names of the module ``replaced_in`` are replaced."""
    before = {key: getattr(replaced_in, key) for key in replacements}
    spec = importlib.util.spec_from_file_location(f"{__name__}_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    try:
        vars(replaced_in).update(replacements)
        spec.loader.exec_module(module)
    finally:
        vars(replaced_in).update(before)
    assert all(getattr(module, key) is value for key, value in replacements.items())
    return {key: value for key, value in vars(module).items() if key.startswith("test_")}


@pytest.fixture
def global_random_seed():
    return 42


globals().update(_tests_of("test_mlp", neural_network, MLPClassifier=MLPClassifier, MLPRegressor=MLPRegressor))


class _OfArrays:
    """An optimiser whose steps go over to arrays and their state, as scikit-learn's do."""

    def __init__(self, params, *rest, **options):
        holder = nn.Module()
        for number, array in enumerate(params):
            setattr(holder, f"array{number}", Parameter(array))
        self.parameters = list(holder.parameters())
        flatten(self.parameters)
        super().__init__(self.parameters, *rest, **options)

    def update_params(self, params, grads):
        steps = self.steps
        state = steps.state(self.parameters[0].dtype)
        for name, sign in self.state.items():
            values = numpy.concatenate([array.ravel() for array in vars(self).get(name, [])] or [state[0] * 0])
            state[list(self.state).index(name)] = sign * values
        if "t" in vars(self):
            steps.scalars(0)  # counts the parameters' steps from here
            steps._steps = self.t
        for parameter, array, grad in zip(self.parameters, params, grads, strict=True):
            parameter.data, parameter.grad = array, grad
        steps.step()
        for parameter, array in zip(self.parameters, params, strict=True):
            array[...] = parameter.data


class SGDOptimizer(_OfArrays, optimizers.SGDOptimizer):
    state = {"velocities": -1.0}  # noqa: RUF012


class AdamOptimizer(_OfArrays, optimizers.AdamOptimizer):
    state = {"ms": 1.0, "vs": 1.0}  # noqa: RUF012


_OPTIMIZERS = _tests_of(
    "test_stochastic_optimizers",
    neural_network._stochastic_optimizers,
    BaseOptimizer=optimizers.BaseOptimizer,
    SGDOptimizer=SGDOptimizer,
    AdamOptimizer=AdamOptimizer,
)


def _to_a_rounding(one, two):
    numpy.testing.assert_allclose(one, two, rtol=0, atol=1e-15)


for _name in ("test_sgd_optimizer_nesterovs_momentum", "test_adam_optimizer"):
    _function = _OPTIMIZERS[_name]
    _globals = {**_function.__globals__, "assert_array_equal": _to_a_rounding}
    _OPTIMIZERS[_name] = type(_function)(_function.__code__, _globals, _name)
globals().update(_OPTIMIZERS)


def test_every_test_of_the_installed_files_is_here():
    for name in ("test_mlp", "test_stochastic_optimizers"):
        found = {line[4:].partition("(")[0] for line in (FOLDER / f"{name}.py").read_text().splitlines()
                 if line.startswith("def test_")}  # fmt: skip
        assert found
        assert found <= globals().keys()
    assert isinstance(neural_network, ModuleType)
    assert neural_network.MLPClassifier is not MLPClassifier
