"""Loops of one's own beside PyTorch's eager mode: ``python -m bench.loops``.

One text for both libraries, float32, one thread: a step of the disk network, a mini-batch update of PPO, an update of
SAC with two critics and copies of both, one of deep Q-learning; and of the PPO networks ``opt.step()`` and
``clip_grad_norm_`` alone. Both libraries start from the same parameters and take turns; the least of several rounds
counts. Writes ``bench/results/loops.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter, strftime
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

import fastbp
from bench import machine
from bench.tables import save_table

NAME = "loops"
ROUNDS, SECONDS = 25, 0.02
Step = Callable[[], object]


class Library(NamedTuple):
    """A library by the names that the loops use; ``xp`` is where its array functions are."""

    name: str
    root: ModuleType
    xp: ModuleType
    array: Callable[[np.ndarray[Any, Any]], Any]

    @property
    def nn(self) -> Any:
        return self.root.nn

    @property
    def optim(self) -> Any:
        return self.root.optim

    def network(self, *sizes: int, activation: str = "Tanh") -> Any:
        nn = self.nn
        modules = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), getattr(nn, activation)())]
        return self.fill(nn.Sequential(*modules[:-1]))

    def fill(self, module: Any) -> Any:
        """Give a module the same parameters in both libraries."""
        rng = np.random.default_rng(0)
        shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        values = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
        module.load_state_dict({name: self.array(value) for name, value in values.items()})
        return module

    def draw(self, *shape: int) -> Any:
        return self.array(np.random.default_rng(shape).normal(size=shape).astype(np.float32))

    def whole(self, n: int, below: int) -> Any:
        return self.array(np.random.default_rng(n).integers(0, below, n))


OURS = Library("fastbp", fastbp, np, np.asarray)
TORCH = Library("torch", torch, torch, torch.from_numpy)


def disk_step(lib: Library) -> Step:
    """A step of 2-25-25-25-2 with mini-batches of 50."""
    model, criterion = lib.network(2, 25, 25, 25, 2, activation="ReLU"), lib.nn.MSELoss()
    opt = lib.optim.SGD(model.parameters(), lr=0.01)
    x, y = lib.draw(50, 2), lib.draw(50, 2)

    def step() -> None:
        loss = criterion(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()

    return step


def actor_and_critic(lib: Library) -> Any:
    """Return a module of two networks 4-64-64."""

    class Net(lib.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.actor, self.critic = lib.network(4, 64, 64, 2), lib.network(4, 64, 64, 1)

        def forward(self, x: Any) -> tuple[Any, Any]:
            return self.actor(x), self.critic(x)[:, 0]

    return Net()


def ppo_step(lib: Library, **options: Any) -> Step:
    """A mini-batch update of PPO: 64 rows, Adam, clipping."""
    xp, net = lib.xp, actor_and_critic(lib)
    opt = lib.optim.Adam(net.parameters(), lr=3e-4, **options)
    x, advantage, returns, old = lib.draw(64, 4), lib.draw(64), lib.draw(65)[:64], lib.draw(66)[:64] * 0.1 - 0.7
    actions, rows = lib.whole(64, 2), lib.array(np.arange(64))

    def step() -> None:
        logits, value = net(x)
        log_p = logits - xp.log(xp.exp(logits).sum(axis=1, keepdims=True))
        ratio = xp.exp(log_p[rows, actions] - old)
        entropy = -(xp.exp(log_p) * log_p).sum(axis=1).mean()
        surrogate = -xp.minimum(ratio * advantage, xp.clip(ratio, 0.8, 1.2) * advantage).mean()
        loss = surrogate + 0.5 * ((value - returns) ** 2).mean() - 0.01 * entropy
        opt.zero_grad()
        loss.backward()
        lib.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.step()

    return step


def ppo_step_beside_fused_adam(lib: Library) -> Step:
    """The same beside PyTorch's Adam in one kernel."""
    return ppo_step(lib, **({"fused": True} if lib is TORCH else {}))


def sac_step(lib: Library) -> Step:
    """An update of SAC: an actor, two critics, copies of both that follow; 64 rows."""
    xp = lib.xp
    body, mean, log_std = lib.network(3, 64, 64), lib.network(64, 2), lib.network(64, 2)
    critics, copies = ([lib.network(5, 64, 64, 1) for _ in range(2)] for _ in range(2))
    of_actor = lib.optim.Adam([p for part in (body, mean, log_std) for p in part.parameters()], lr=3e-4)
    of_critics = lib.optim.Adam([p for critic in critics for p in critic.parameters()], lr=3e-4)
    x, action, after, noise, reward = (
        lib.draw(64, 3), lib.draw(64, 2), lib.draw(65, 3)[:64], lib.draw(65, 2)[:64], lib.draw(64),
    )  # fmt: skip

    def act(state: Any) -> tuple[Any, Any]:
        h = xp.tanh(body(state))
        scale = xp.clip(log_std(h), -5.0, 2.0)
        chosen = xp.tanh(mean(h) + xp.exp(scale) * noise)
        return chosen, (-0.5 * noise**2 - scale - xp.log(1 - chosen**2 + 1e-6)).sum(axis=1)

    def value(networks: Any, state: Any, chosen: Any) -> list[Any]:
        inputs = xp.concatenate([state, chosen], axis=1)
        return [network(inputs)[:, 0] for network in networks]

    def step() -> None:
        with lib.root.no_grad():
            chosen, log_p = act(after)
            goal = reward + 0.99 * (xp.minimum(*value(copies, after, chosen)) - 0.2 * log_p)
        one, two = value(critics, x, action)
        loss = ((one - goal) ** 2).mean() + ((two - goal) ** 2).mean()
        of_critics.zero_grad()
        loss.backward()
        of_critics.step()
        chosen, log_p = act(x)
        loss = (0.2 * log_p - xp.minimum(*value(critics, x, chosen))).mean()
        of_actor.zero_grad()
        loss.backward()
        of_actor.step()
        with lib.root.no_grad():
            for critic, copy in zip(critics, copies):
                for own, slow in zip(critic.parameters(), copy.parameters()):
                    slow.data[...] = 0.995 * slow.data + 0.005 * own.data

    return step


def dqn_step(lib: Library) -> Step:
    """An update of deep Q-learning: a network and its copy, 64 rows."""
    xp, online, copy = lib.xp, lib.network(4, 64, 64, 2), lib.network(4, 64, 64, 2)
    opt, criterion = lib.optim.Adam(online.parameters(), lr=1e-3), lib.nn.SmoothL1Loss()
    x, after, reward = lib.draw(64, 4), lib.draw(65, 4)[:64], lib.draw(64)
    actions, rows = lib.whole(64, 2), lib.array(np.arange(64))

    def step() -> None:
        with lib.root.no_grad():
            goal = reward + 0.99 * xp.amax(copy(after), 1)
        loss = criterion(online(x)[rows, actions], goal)
        opt.zero_grad()
        loss.backward()
        opt.step()

    return step


def adam_step(lib: Library) -> Step:
    """``opt.step()`` of the networks of PPO."""
    net = actor_and_critic(lib)
    opt = lib.optim.Adam(net.parameters(), lr=3e-4)
    logits, value = net(lib.draw(64, 4))
    (logits.sum() + value.sum()).backward()
    step: Step = opt.step
    return step


def clipping(lib: Library) -> Step:
    """``clip_grad_norm_`` of the networks of PPO."""
    net = actor_and_critic(lib)
    logits, value = net(lib.draw(64, 4))
    (logits.sum() + value.sum()).backward()
    parameters = list(net.parameters())
    return lambda: lib.nn.utils.clip_grad_norm_(parameters, 0.5)


class Loop(NamedTuple):
    """What is measured, and its goal: PyTorch's time over ours, or microseconds of ours."""

    make: Callable[[Library], Step]
    over_torch: float | None = None
    microseconds: float | None = None


LOOPS = (
    Loop(disk_step, 12), Loop(ppo_step, 6), Loop(ppo_step_beside_fused_adam, 5), Loop(sac_step, 6), Loop(dqn_step, 6),
    Loop(adam_step, None, 12), Loop(clipping, None, 5),
)  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    fastbp.set_num_threads(1)
    rows = [measure(loop) for loop in LOOPS]
    print(format_table(rows))
    save_table({"date": strftime("%Y-%m-%d"), "machine": machine.describe(), "loops": rows}, NAME)


def measure(loop: Loop, rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the seconds of a step of each library: the least of rounds in turn."""
    steps = [loop.make(library) for library in (OURS, TORCH)]
    counts = []
    for step in steps:
        for _ in range(20):
            step()
        counts.append(max(1, round(seconds / _time(step, 10))))
    times = [[_time(step, count) for step, count in zip(steps, counts)] for _ in range(rounds)]
    ours, theirs = map(min, zip(*times))
    goals = {"over_torch": loop.over_torch, "microseconds": loop.microseconds}
    return {"name": (loop.make.__doc__ or "").rstrip("."), "fastbp": ours, "torch": theirs, **goals}


def _time(step: Step, count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        step()
    return (perf_counter() - start) / count


def format_table(rows: list[dict[str, Any]]) -> str:
    """Return the measurements in Markdown."""
    lines = ["| step | fastbp, µs | PyTorch, µs | PyTorch / fastbp | goal |", "|---|---|---|---|---|"]
    for row in rows:
        goal = f"{row['over_torch']} ×" if row["over_torch"] else f"{row['microseconds']} µs"
        times = f"{row['fastbp'] * 1e6:.1f} | {row['torch'] * 1e6:.0f} | {row['torch'] / row['fastbp']:.1f}"
        lines.append(f"| {row['name']} | {times} | {goal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
