"""``python -m fastbp warmup`` and the function behind it: afterwards nothing is left to compile."""

import re
import subprocess
import sys

import pytest
from helpers import child_environment

import fastbp
from fastbp.__main__ import main
from fastbp_kernels.compiler.cache import cache_folder

EVERYTHING = """
import numpy, fastbp
from fastbp import nn, optim
from fastbp.engine import predictor
from fastbp.runtime import threads
thresholds = threads.FLOP_PER_THREAD, threads.FLOP_PER_START
for dtype in (numpy.float32, numpy.float64):
    kinds = [
        (nn.ReLU, nn.MSELoss, optim.SGD),
        (nn.Tanh, nn.CrossEntropyLoss, optim.Adam),
        (nn.Sigmoid, nn.MSELoss, optim.Adam),
        (nn.GELU, nn.HuberLoss, optim.SGD),
        (nn.LeakyReLU, nn.HuberLoss, optim.SGD),
        (lambda: nn.GELU("tanh"), nn.CrossEntropyLoss, optim.SGD),
    ]
    for activation, loss, optimizer in kinds:
        model = nn.Sequential(nn.Linear(4, 9, dtype=dtype), activation(), nn.Linear(9, 3, False, dtype=dtype))
        x, target = numpy.ones((600, 4), dtype), numpy.ones((600, 3), dtype)
        weights = numpy.ones(600, dtype)
        if loss.takes_classes:
            target = numpy.zeros(600, int)
        for eager in (False, True):
            if eager:
                threads.FLOP_PER_THREAD = threads.FLOP_PER_START = predictor.FLOP_PER_START = 1.0
                fastbp.set_num_threads(2)
            criterion, opt = loss(), optimizer(model.parameters(), lr=0.1)
            for size, shuffle in ((50, False), (600, True)):
                fastbp.train_model(model, x, target, x, target, criterion, opt, 1, size, shuffle=shuffle)
            model.predict(x)
            model.predict(x[0])
            [module.predict(x) for module in model[:1]]
            values = [x]
            [values.append(module.forward(values[-1])) for module in model]
            [values.append(module.backward(values[-1])) for module in reversed(model[:])]
            model.backward(model(x[0]))
            output = model(x)
            criterion(output, target)
            criterion.evaluate(output, target)
            loss("none")(output, target, weights) if loss is nn.HuberLoss else None
            criterion(output, target, weights)
            model.backward(criterion.backward(retain_graph=True), retain_graph=True)
            model.backward_parameters(criterion.backward())
            opt.step()
            optim.AdamW([{"params": parameter} for parameter in model.parameters()]).step()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        fastbp.set_num_threads(1)
        threads.FLOP_PER_THREAD, threads.FLOP_PER_START = thresholds
        predictor.FLOP_PER_START = threads.FLOP_PER_START
    layers = nn.BatchNorm1d(3, dtype=dtype), nn.LayerNorm(3, dtype=dtype), nn.PReLU(dtype=dtype)
    rest = nn.Dropout(), nn.Residual(nn.Linear(3, 3, dtype=dtype)), nn.LogSoftmax(1), nn.Softmax(1)
    model = nn.Sequential(nn.Linear(4, 3, dtype=dtype), *layers, *rest)
    fastbp.train_model(model, x, x[:, :3], x, x[:, :3], nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 1, 50)
    model.backward(model(x))
"""


def python(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], env=child_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def test_after_the_warmup_no_training_and_no_prediction_compiles():
    done = python("-m", "fastbp", "warmup")
    assert re.fullmatch(rf"all kernels are ready after \d+\.\d s; .*{re.escape(str(cache_folder()))}\n", done.stdout)
    assert python("-c", EVERYTHING).stderr == ""


def test_the_warmup_is_a_function_too_and_changes_no_setting():
    before = fastbp.get_num_threads()
    assert fastbp.warmup() is None
    assert fastbp.get_num_threads() == before


def test_the_command_without_a_word_tells_its_use(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fastbp"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert "usage: python -m fastbp" in told
    assert "warmup" in told
