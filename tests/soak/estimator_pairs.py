"""Estimators beside scikit-learn's, changed and asked in a drawn order: each call ends in the same way for both."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings

import hypothesis.strategies as st
import numpy
from calls import Caller, counts, is_ours, tame
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sklearn import neural_network
from sklearn.base import clone

import fastbp.sklearn
from fastbp import nn, optim

SEEDS = st.integers(0, 1000)
KINDS = ("pair", "classes", "labels", "numbers", "columns")
SETTINGS = {
    "activation": ["identity", "logistic", "tanh", "relu"],
    "alpha": [0.0, 1e-4, 1.0],
    "batch_size": [1, 7, 30, "auto"],
    "early_stopping": [False, True],
    "hidden_layer_sizes": [(5,), (3, 4), (), 6],
    "learning_rate": ["constant", "invscaling", "adaptive"],
    "learning_rate_init": [1e-3, 0.05],
    "max_iter": [1, 2, 3],
    "momentum": [0.0, 0.9],
    "n_iter_no_change": [1, 10],
    "nesterovs_momentum": [False, True],
    "random_state": [0, 3],
    "shuffle": [False, True],
    "solver": ["adam", "adam", "sgd", "lbfgs"],
    "warm_start": [False, True],
}
WRONG = {
    "activation": ["swish", None, 3],
    "alpha": [-1.0, "a"],
    "batch_size": [0, 2.5],
    "hidden_layer_sizes": [(0,), (-3,), (2.5,), (8.0,), numpy.array([4.0, 2.0]), "ab", None],
    "learning_rate_init": [0.0, -1.0],
    "max_iter": [1.5],
    "solver": ["newton", None],
}
OUT = ("identity", "logistic", "softmax", "relu", "tanh")
ASKED = ("predict", "predict", "predict_proba", "predict_log_proba", "score")
LOSSES = (
    "squared_error", "poisson", "huber", "absolute_error", "nothing", nn.MSELoss(), nn.NLLLoss(), nn.CrossEntropyLoss(),
    nn.BCELoss(), nn.KLDivLoss(), nn.GaussianNLLLoss(), nn.QuantileLoss([0.1, 0.9]), nn.L1Loss("none"), nn.MSELoss, 3,
)  # fmt: skip


class OwnAdam(optim.Adam):
    """One with a step of its user's."""

    def step(self, closure=None):
        return super().step(closure)


OPTIMIZERS = (
    "adamw", "RMSprop", "nothing", optim.SGD, OwnAdam, functools.partial(optim.AdamW, weight_decay=0.1),
    lambda p, lr: optim.Adam(list(p)[:2], lr=lr), lambda p, lr: optim.SGD(list(p)[2:], lr=lr, momentum=0.5),
    lambda p, lr: optim.Adam([{"params": list(p)[:1]}, {"params": list(p)[1:2], "lr": lr / 2}], lr=lr),
    lambda p, lr: optim.Adam(nn.Linear(3, 3).parameters(), lr=lr), lambda p, lr: None, lambda p: None, 7,
)  # fmt: skip


class Pair:
    """The same estimator of both libraries."""

    def __init__(self, kind, seed, options):
        self.kind, self.seed = kind, seed
        name = "MLPRegressor" if kind in ("numbers", "columns") else "MLPClassifier"
        self.both = [getattr(library, name)(**options) for library in (neural_network, fastbp.sklearn)]

    def data(self, n, seed):
        """Samples and targets; ``seed`` of the pair's own tells which features matter."""
        x = numpy.random.default_rng(seed).normal(size=(n, 4))
        scores = x @ numpy.random.default_rng(self.seed).normal(size=(4, 3))
        y = {
            "pair": scores[:, 0] > 0, "classes": scores.argmax(axis=1) * 2, "labels": (scores > 0).astype(int),
            "numbers": scores[:, 0], "columns": scores,
        }  # fmt: skip
        return x, y[self.kind]


class EstimatorPairs(Caller, RuleBasedStateMachine):
    """Up to four pairs. One whose call raised is dropped: what scikit-learn leaves behind then is half of it."""

    def __init__(self):
        super().__init__()
        self.pairs = []

    def pick(self, number):
        return self.pairs[number % len(self.pairs)]

    def call_both(self, pair, function):
        """Call ``function`` for each of the pair and compare how they end; return both results."""
        ends = []
        for estimator in pair.both:
            counts["calls"] += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    ends.append((function(estimator), None))
                except Exception as error:
                    ends.append((None, error))
        (theirs, their_error), (ours, our_error) = ends
        assert (their_error is None) == (our_error is None), f"{their_error!r}, but {our_error!r}"
        if their_error is not None:
            counts["errors"] += 1
            self.pairs.remove(pair)
            return None
        return theirs, ours

    def compare(self, pair, results=None):
        """Compare parameters, courses and results; drop a pair whose numbers are no longer ordinary ones."""
        arrays = [each.coefs_ + each.intercepts_ for each in pair.both] if hasattr(pair.both[0], "coefs_") else [[], []]
        if results is not None:
            arrays = [[*own, numpy.asarray(result)] for own, result in zip(arrays, results, strict=True)]
        if any(array.dtype.kind == "f" and not tame(array) for array in arrays[0]):
            self.pairs.remove(pair)
            return
        for theirs, ours in zip(*arrays, strict=True):
            assert theirs.shape == ours.shape
            if theirs.dtype.kind == "f":
                counts["compared"] += 1
                scale = 1 + numpy.abs(theirs).max(initial=0.0)
                numpy.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * scale)
        for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
            assert getattr(pair.both[0], name, None) == getattr(pair.both[1], name, None), name

    # ------------------------------------------------------------------ build, train, ask
    @rule(kind=st.sampled_from(KINDS), seed=SEEDS, data=st.data(), wrong=st.integers(0, 9))
    def build(self, kind, seed, data, wrong):
        chosen = data.draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=6, unique=True))
        options = {"max_iter": 2, "random_state": 0, "hidden_layer_sizes": (5,)}
        options |= {name: data.draw(st.sampled_from(SETTINGS[name])) for name in chosen}
        if wrong == 0:
            name = data.draw(st.sampled_from(sorted(WRONG)))
            options[name] = data.draw(st.sampled_from(WRONG[name]))
        pair = Pair(kind, seed, options)
        self.pairs = [*self.pairs[-3:], pair]
        self.fit(0, seed, 30, 0)

    @precondition(lambda self: self.pairs)
    @rule(number=SEEDS, seed=SEEDS, n=st.sampled_from([12, 30, 30]), weigh=st.integers(0, 3))
    def fit(self, number, seed, n, weigh):
        pair = self.pairs[-1 - number % len(self.pairs)]
        x, y = pair.data(n, seed)
        fit = {"sample_weight": numpy.arange(1.0, n + 1)} if weigh == 3 else {}
        if self.call_both(pair, lambda estimator: estimator.fit(x, y, **fit)) is not None:
            self.compare(pair)

    @precondition(lambda self: self.pairs)
    @rule(number=SEEDS, seed=SEEDS, n=st.sampled_from([1, 12, 30]), times=st.integers(1, 3), classes=st.booleans())
    def partial_fit(self, number, seed, n, times, classes):
        pair = self.pick(number)
        x, y = pair.data(n, seed)
        first = {}
        if pair.kind in ("pair", "classes", "labels") and classes:
            first["classes"] = {"pair": [False, True], "classes": [0, 2, 4], "labels": [0, 1, 2]}[pair.kind]

        def train(estimator):
            for _ in range(times):
                estimator.partial_fit(x, y, **first)

        if self.call_both(pair, train) is not None:
            self.compare(pair)

    @precondition(lambda self: self.pairs)
    @rule(number=SEEDS, seed=SEEDS, n=st.sampled_from([1, 8]), what=st.sampled_from(ASKED), twice=st.booleans(),
          to=st.sampled_from(["f8", "f8", "f4", "i8"]))  # fmt: skip
    def ask(self, number, seed, n, what, twice, to):
        pair = self.pick(number)
        x, y = pair.data(n, seed)
        x = (3 * x).astype(to)
        arguments = (x, y) if what == "score" else (x,)

        def answer(estimator):
            if twice:
                getattr(estimator, what)(*arguments)
            return getattr(estimator, what)(*arguments)

        results = self.call_both(pair, answer)
        if results is not None and what != "score":
            self.compare(pair, None if what == "predict_log_proba" else results)

    @precondition(lambda self: self.pairs)
    @rule(number=SEEDS, what=st.sampled_from(["NaN", "features", "empty", "flat", "targets", "rows"]), data=st.data())
    def call_badly(self, number, what, data):
        pair = self.pick(number)
        x, y = pair.data(10, 0)
        wrong = {
            "NaN": (numpy.where(x > 1, numpy.nan, x), y), "features": (x[:, :3], y), "empty": (x[:0], y[:0]),
            "flat": (x[:, 0], y), "targets": (x, numpy.full(len(x), None)), "rows": (x, y[:-1]),
        }[what]  # fmt: skip
        method = data.draw(st.sampled_from(["fit", "partial_fit", "predict"]))
        arguments = wrong[:1] if method == "predict" else wrong
        self.call_both(pair, lambda estimator: getattr(estimator, method)(*arguments))

    # ------------------------------------------------------------------ change
    @precondition(lambda self: self.pairs)
    @rule(number=SEEDS, seed=SEEDS, data=st.data(),
          what=st.sampled_from(["setting", "setting", "coefs", "item", "intercepts", "in place", "out", "wrong", "mean",
                                "layer", "shape"]))  # fmt: skip
    def change(self, number, seed, data, what):
        """What federated averaging, loaded weights and ``set_params`` on a fitted estimator do."""
        pair = self.pick(number)
        if what in ("setting", "wrong"):
            table = SETTINGS if what == "setting" else WRONG
            names = table.keys() - {"solver"} if what == "wrong" else table  # scikit-learn trains nothing in silence
            name = data.draw(st.sampled_from(sorted(names)))
            value = data.draw(st.sampled_from(table[name]))
            self.call_both(pair, lambda estimator: estimator.set_params(**{name: value}) and None)
            return
        if not hasattr(pair.both[0], "coefs_"):
            return
        if what in ("layer", "shape") and pair.both[0].solver == "lbfgs":
            return  # scikit-learn takes the first numbers of what does not fit, in silence
        out = data.draw(st.sampled_from(OUT))
        for estimator in pair.both:
            rng = numpy.random.default_rng(seed)
            coefs, intercepts = estimator.coefs_, estimator.intercepts_
            place = seed % len(coefs)
            if what == "coefs":
                estimator.coefs_ = [coef.copy() for coef in coefs]
            elif what == "item":
                coefs[place] = rng.normal(size=coefs[place].shape)
            elif what == "intercepts":
                estimator.intercepts_ = [rng.normal(size=each.shape) for each in intercepts]
            elif what == "in place":
                coefs[place][...] *= 0.5
            elif what == "out":
                estimator.out_activation_ = out
            elif what == "mean":
                estimator.coefs_ = [(coef + rng.normal(size=coef.shape)) / 2 for coef in coefs]
            elif what == "layer":
                coefs.append(numpy.eye(coefs[-1].shape[1]))
                intercepts.append(numpy.zeros(coefs[-1].shape[1]))
                estimator.n_layers_ += 1
            else:
                coefs[place] = rng.normal(size=(coefs[place].shape[0] + 1, coefs[place].shape[1]))

    @precondition(lambda self: self.pairs)
    @rule(number=SEEDS, way=st.sampled_from([copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e)), clone]))
    def duplicate(self, number, way):
        pair = self.pick(number)
        results = self.call_both(pair, way)
        if results is not None:
            twin = copy.copy(pair)
            twin.both = list(results)
            self.pairs = [*self.pairs[-3:], twin]

    # ------------------------------------------------------------------ what scikit-learn does not have
    @rule(kind=st.sampled_from(KINDS), seed=SEEDS, loss=st.sampled_from(LOSSES), optimizer=st.sampled_from(OPTIMIZERS),
          which=st.integers(0, 7), weight=st.sampled_from([None, "balanced", {1: 10}, {"a": 1}, [{0: 1, 1: 2}] * 3]),
          dtype=st.sampled_from([None, "float32", "float64", "int8"]))  # fmt: skip
    def of_ours_alone(self, kind, seed, loss, optimizer, which, weight, dtype):
        """Any loss, optimiser and more: a fit, then predictions and another fit, or an error in somebody's words."""
        pair = Pair(kind, seed, {"max_iter": 2, "hidden_layer_sizes": (6, 5), "random_state": 0})
        estimator = pair.both[1]
        options = {"dtype": dtype, "dropout": 0.3 * (which == 1), "layer_norm": which == 2}
        options["optimizer"] = optimizer if which > 3 else None
        options["loss" if kind in ("numbers", "columns") else "class_weight"] = (
            loss if kind in ("numbers", "columns") else weight
        )
        x, y = pair.data(30, seed)
        self._told(estimator.set_params, **options)
        if self._told(estimator.fit, x, y) is None:
            return
        self._told(estimator.predict, x)
        self._told(estimator.partial_fit, x[:7], y[:7])
        estimator.coefs_ = [coef.copy() for coef in estimator.coefs_]
        self._told(estimator.partial_fit, x[:7], y[:7])
        self._told(copy.deepcopy(estimator).predict, x)

    def _told(self, function, *arguments, **options):
        """Call and return the result; what is raised must be a line of fastbp's or scikit-learn's that says why."""
        counts["calls"] += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return function(*arguments, **options)
            except Exception as error:
                counts["errors"] += 1
                if not (is_ours(error) or _is_sklearns(error)):
                    raise AssertionError(f"nobody's: {error!r}") from error
                return None


def _is_sklearns(error):
    """Whether a line of scikit-learn raises the error."""
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return "sklearn" in frame.tb_frame.f_code.co_filename and " " in str(error)
