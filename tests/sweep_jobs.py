"""Jobs of a sweep that worker processes can import, some of which kill their worker."""

import os
import signal
from pathlib import Path

import numpy
from same_bits import SMOOTH

import fastbp
from fastbp import nn, optim


def build(setting, input, target):
    if "kill" in setting and os.getpid() != setting["parent"]:
        flag = Path(setting["kill"])
        if not flag.exists():
            flag.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
    model = SMOOTH.build(numpy.float32, setting["seed"])
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.Adam(model.parameters(), lr=setting["lr"]), epochs=3,
        mini_batch_size=8, train_input=input, train_target=target, val_rows=numpy.arange(5), shuffle=True,
        rng=setting["seed"], on_nonfinite=setting.get("on_nonfinite", "warn"),
    )  # fmt: skip
