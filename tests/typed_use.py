"""The public interface as a user with a type checker writes it: mypy and pyright go over this file in ``make lint``."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import fastbp
from fastbp import nn, optim
from fastbp.optim import lr_scheduler

Array = npt.NDArray[Any]


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, input: Array) -> Array:
        return np.asarray(input * self.factor)

    def backward(self, grad_output: Array) -> Array:
        return np.asarray(grad_output * self.factor)


def build() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Tanh(), nn.Residual(nn.Linear(8, 8)), Scaled(0.5), nn.Linear(8, 2))
    assert_type(model[0], nn.Module)
    assert_type(model[:2], nn.Sequential)
    assert_type(model.eval(), nn.Sequential)
    assert_type(model.to(dtype=np.float64).float(), nn.Sequential)
    return model


def train(model: nn.Sequential, x: Array, y: Array) -> fastbp.History:
    opt = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    scheduler = lr_scheduler.CosineAnnealingLR(opt, T_max=10)
    rule = fastbp.EarlyStopping(patience=3)

    def stop(history: fastbp.History) -> bool:
        return history.seconds > 60

    def largest(prediction: Array, target: Array) -> float:
        return float(abs(prediction - target).max())

    history = fastbp.train_model(
        model, x, y, x, y, nn.MSELoss(), opt, epochs=2, mini_batch_size=10, shuffle=True, rng=0, progress=stop,
        metrics=["mae", largest],
        early_stopping=rule, scheduler=scheduler, clip_grad_norm=1.0,
    )  # fmt: skip
    assert_type(history["train_loss"], list[float])
    assert_type(history.last(), dict[str, float])
    assert_type(history.best_epoch, int | None)
    return history


def loop(model: nn.Module, x: Array, y: Array) -> float:
    opt, criterion = optim.SGD(model.parameters(), lr=0.1, momentum=0.9), nn.HuberLoss()
    opt.zero_grad()
    loss = criterion(model(x), y)
    model.backward(criterion.backward())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    for name, parameter in model.named_parameters():
        assert_type(name, str)
        assert_type(parameter, nn.Parameter)
    return float(loss)


def leave(model: nn.Sequential, folder: Path) -> None:
    fastbp.to_c(model, folder / "model.c", sample_shape=4)
    fastbp.to_onnx(model, folder / "model.onnx", sample_shape=(4,))
    assert_type(fastbp.from_onnx(str(folder / "model.onnx")), nn.Sequential)
    fastbp.to_safetensors(model, folder / "model.safetensors")
    fastbp.save(folder / "training.safetensors", model)
    checkpoint = fastbp.load(folder / "training.safetensors")
    assert_type(checkpoint.model, nn.Module)
    assert_type(checkpoint.opt, optim.Optimizer | None)
    print(fastbp.summary(checkpoint.model, (3, 4)), fastbp.summary(model, np.zeros((3, 4), np.float32)).parameters)


def many(x: Array, y: Array) -> Array:
    models = [nn.Sequential(nn.Linear(4, 2, rng=seed)) for seed in range(3)]
    jobs = [
        fastbp.TrainingJob(
            model=model, criterion=nn.MSELoss(), opt=optim.Adam(model.parameters()), epochs=1, mini_batch_size=10,
            train_input=x, train_target=y, shuffle=True, rng=seed,
        )
        for seed, model in enumerate(models)
    ]  # fmt: skip
    assert_type(fastbp.train_models(jobs, progress=False), list[fastbp.History])
    return fastbp.Ensemble(models).predict(x)
