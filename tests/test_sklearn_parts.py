"""Loss, optimiser and network of an estimator, where they are the user's: they count, or an error names them."""

from threading import Thread

import numpy as np
import pytest

import fastbp
from fastbp import nn, optim
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
NUMBERS = X[:, 0] - X[:, 1] ** 2
CLASSES = (X.sum(axis=1) > 0) + (X[:, 0] > 1).astype(int)
SMALL = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "batch_size": 16}


def arrays(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same_bits(one, other):
    for mine, theirs in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Doubled(nn.MSELoss):
    def forward(self, prediction, target, sample_weight=None):
        return 2 * super().forward(prediction, target, sample_weight)


class Named(nn.MSELoss):
    pass


def with_own_backward():
    loss = nn.MSELoss()
    loss.backward = lambda *arguments, **options: np.zeros(1)
    return loss


LOSSES = {
    "class indices": (nn.NLLLoss(), "NLLLoss, which takes class indices"),
    "several outputs": (nn.QuantileLoss([0.1, 0.5, 0.9]), "QuantileLoss, which takes 3 outputs for each target"),
    "probabilities": (nn.BCELoss(), "BCELoss, which takes probabilities as predictions"),
    "each": (nn.MSELoss(reduction="none"), "MSELoss, whose reduction is 'none'"),
    "sum": (nn.L1Loss(reduction="sum"), "L1Loss, whose reduction is 'sum'"),
    "own forward": (Doubled(), "Doubled, which has methods of its own"),
    "own class": (Named(), "Named, which has methods of its own"),
    "own method": (with_own_backward(), "MSELoss, which has methods of its own"),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_a_loss_that_a_regressor_cannot_have_is_named_with_those_that_it_can(case, call):
    loss, text = LOSSES[case]
    with pytest.raises(ValueError, match=text) as error:
        getattr(MLPRegressor(loss=loss, **SMALL), call)(X, NUMBERS)
    assert "'squared_error', 'poisson', 'absolute_error'" in str(error.value)


def test_targets_that_a_loss_does_not_take_are_refused():
    with pytest.raises(ValueError, match=r"MLPRegressor takes y from 0 to 1"):
        MLPRegressor(loss=nn.BCEWithLogitsLoss(), **SMALL).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="MLPRegressor takes y"):
        MLPRegressor(loss=nn.CrossEntropyLoss(), **SMALL).fit(X, X[:, :3])


@pytest.mark.parametrize(
    "loss", [nn.QuantileLoss(0.9), nn.HuberLoss(), nn.KLDivLoss("batchmean"), nn.BCEWithLogitsLoss()]
)
def test_a_loss_of_numbers_trains_a_regressor(loss):
    target = np.abs(np.tanh(X[:, :2]))
    ours = MLPRegressor(loss=loss, **SMALL).fit(X, target)
    assert np.isfinite(ours.loss_)
    assert ours.loss_ < ours.loss_curve_[0]


def of_some(kind, chosen, **settings):
    """What builds an optimiser over ``chosen`` of the network's parameters: weights and biases in order."""
    return lambda parameters, lr: kind([list(parameters)[place] for place in chosen], lr=lr, **settings)


@pytest.mark.parametrize("kind", [optim.Adam, optim.SGD, optim.Rprop])
@pytest.mark.parametrize("chosen", [(0, 1), (2, 3), (3,), (2, 0), (3, 1)])
def test_an_optimiser_over_some_of_the_parameters_steps_those(kind, chosen):
    begin = MLPClassifier(**{**SMALL, "max_iter": 1}, learning_rate_init=1e-12).fit(X, CLASSES)
    ours = MLPClassifier(**SMALL, optimizer=of_some(kind, chosen)).fit(X, CLASSES)
    whole = MLPClassifier(**SMALL, optimizer=kind)
    ordered = [ours.coefs_[0], ours.intercepts_[0], ours.coefs_[1], ours.intercepts_[1]]
    first = [begin.coefs_[0], begin.intercepts_[0], begin.coefs_[1], begin.intercepts_[1]]
    for place, (now, before) in enumerate(zip(ordered, first, strict=True)):
        assert np.isfinite(now).all()
        assert np.allclose(now, before, rtol=0, atol=1e-9) == (place not in chosen), place
    assert_same_bits(whole.fit(X, CLASSES), MLPClassifier(**SMALL, optimizer=of_some(kind, range(4))).fit(X, CLASSES))


def test_an_optimiser_over_some_parameters_goes_on_in_partial_fit():
    ours = MLPClassifier(**SMALL, optimizer=of_some(optim.Adam, (2, 3)))
    for _ in range(3):
        ours.partial_fit(X, CLASSES, classes=[0, 1, 2])
    kept = ours.coefs_[0].copy()
    ours.partial_fit(X, CLASSES)
    np.testing.assert_array_equal(ours.coefs_[0], kept)


def test_an_optimiser_over_parameters_of_another_network_is_refused():
    other = nn.Linear(4, 3)
    with pytest.raises(ValueError, match=r"MLPClassifier takes an optimiser over the model's parameters"):
        MLPClassifier(**SMALL, optimizer=lambda parameters, lr: optim.SGD(other.parameters(), lr=lr)).fit(X, CLASSES)
    with pytest.raises(ValueError, match=r"MLPClassifier takes an optimiser over the model's parameters"):
        MLPClassifier(**SMALL, optimizer=lambda parameters, lr: OwnAdam([*parameters, *other.parameters()], lr=lr)).fit(
            X, CLASSES
        )


class OwnAdam(optim.Adam):
    """Adam that counts its steps."""

    made = 0

    def step(self, closure=None):
        OwnAdam.made += 1
        return super().step(closure)


class Descent:
    """An optimiser that is none of the library's."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr = parameters, lr

    def step(self):
        for parameter in self.parameters:
            parameter.data -= parameter.dtype.type(self.lr) * parameter.grad


@pytest.mark.parametrize("sparse", [False, True])
def test_an_optimiser_with_a_step_of_its_own_makes_its_steps_by_it(sparse, monkeypatch):
    from scipy.sparse import csr_matrix

    monkeypatch.setattr("fastbp.sklearn.sparse_rows._AT_ONCE", 0)
    inputs = csr_matrix(X) if sparse else X
    OwnAdam.made = 0
    own = MLPClassifier(**SMALL, alpha=0.1, optimizer=OwnAdam).fit(inputs, CLASSES)
    assert OwnAdam.made == 3 * 4
    plain = MLPClassifier(**SMALL, alpha=0.1, optimizer=optim.Adam).fit(inputs, CLASSES)
    assert_same_bits(own, plain)
    assert own.loss_curve_ == plain.loss_curve_


def test_a_step_that_is_set_on_an_optimiser_runs():
    def still(parameters, lr):
        opt = optim.SGD(parameters, lr=lr)
        opt.step = lambda: None
        return opt

    begin = MLPClassifier(**{**SMALL, "max_iter": 1}, learning_rate_init=1e-300, solver="sgd").fit(X, CLASSES)
    assert_same_bits(MLPClassifier(**SMALL, optimizer=still).fit(X, CLASSES), begin)


def test_an_optimiser_that_is_none_of_the_librarys_steps():
    own = MLPRegressor(**SMALL, optimizer=Descent).fit(X, NUMBERS)
    assert own.loss_ < own.loss_curve_[0]
    plain = MLPRegressor(**SMALL, optimizer=optim.SGD).fit(X, NUMBERS)
    for mine, theirs in zip(arrays(own), arrays(plain), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    with pytest.raises(TypeError, match=r"MLPRegressor takes optimizer as what returns an object with step\(\), got 3"):
        MLPRegressor(**SMALL, optimizer=lambda parameters, lr: 3).fit(X, NUMBERS)


def with_batch_norm(dtype):
    return nn.Sequential(
        nn.Linear(4, 8, rng=0, dtype=dtype), nn.BatchNorm1d(8, dtype=dtype), nn.ReLU(), nn.Dropout(0.3, rng=2),
        nn.Linear(8, 1, rng=1, dtype=dtype),
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [60, 700])
def test_batch_norm_and_dropout_train_as_by_train_model(rows, threads, dtype, monkeypatch):
    monkeypatch.setattr("fastbp.runtime.threads.FLOP_PER_THREAD", 1.0)
    fastbp.set_num_threads(threads)
    inputs = np.random.default_rng(1).normal(size=(rows, 4)).astype(dtype)
    target, size = inputs[:, 0] ** 2, rows // 2 - 3
    model, twin = with_batch_norm(dtype), with_batch_norm(dtype)
    ours = from_model(model).set_params(
        loss=nn.MSELoss(), optimizer=optim.SGD, learning_rate_init=0.01, alpha=0.0, shuffle=False, batch_size=size
    )
    opt = optim.SGD(twin.parameters(), lr=0.01)
    for _ in range(3):
        ours.partial_fit(inputs, target)
        fastbp.train_model(twin, inputs, target[:, None], None, None, nn.MSELoss(), opt, 1, size)
    assert int(model[1].num_batches_tracked) == 3 * -(-rows // size) == 9
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value, err_msg=name)
    np.testing.assert_array_equal(ours.predict(inputs), model.predict(inputs)[:, 0])


def test_a_mini_batch_of_one_row_is_refused_behind_a_batch_norm():
    ours = from_model(with_batch_norm("f8")).set_params(batch_size=59)
    with pytest.raises(ValueError, match="BatchNorm1d takes mini-batches of 2 rows or more"):
        ours.partial_fit(X, NUMBERS)


def test_a_network_that_the_engine_does_not_take_is_named():
    ours = MLPRegressor(**SMALL).fit(X, NUMBERS)
    ours.model_[0].forward = lambda x: x
    with pytest.raises(ValueError, match="MLPRegressor takes a network and a loss that the engine trains"):
        ours.partial_fit(X, NUMBERS)


def test_targets_for_another_number_of_outputs_are_refused():
    ours = MLPRegressor(**SMALL).partial_fit(X, NUMBERS)
    with pytest.raises(ValueError, match=r"MLPRegressor takes .* targets for 1 outputs"):
        ours.partial_fit(X, X[:, :3])
    ours = MLPRegressor(**SMALL).fit(X, X[:, :3])
    ours.coefs_ = [ours.coefs_[0], ours.coefs_[1][:, :1]]
    ours.intercepts_ = [ours.intercepts_[0], ours.intercepts_[1][:1]]
    with pytest.raises(ValueError, match=r"MLPRegressor takes .* targets for 1 outputs"):
        ours.partial_fit(X, X[:, :3])


def test_a_network_that_is_changed_meanwhile_stops_the_training():
    def freeze(mlp):
        mlp.model_[0].weight.requires_grad = False

    with pytest.raises(RuntimeError, match="of the network was set, moved, converted or frozen during the training"):
        MLPRegressor(**SMALL, progress=freeze).fit(X, NUMBERS)


def test_estimators_of_one_network_in_several_threads_train_or_are_refused():
    model, errors = with_batch_norm("f8"), []

    def train():
        ours = from_model(model).set_params(batch_size=20)
        for _ in range(50):
            try:
                ours.partial_fit(X, NUMBERS)
            except RuntimeError as error:
                errors.append(str(error))

    threads = [Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another thread" in text for text in errors)
    assert all(np.isfinite(value).all() for value in model.state_dict().values())
