"""
PPO on CartPole, beside PyTorch
===============================

An agent that learns to balance a pole, by proximal policy optimisation. The agent's text is one for both libraries:
only the names of array functions differ. Both start from the same weights, and draw actions and mini-batches from the
same seeds, so that their learning curves are the same until rounding has grown to another action. From then on
they are two runs of one agent, whose ends differ as those of two seeds do: compare seconds, and not last episodes.
"""

from time import perf_counter

import gymnasium
import numpy
import torch
from matplotlib import pyplot

import fastbp
from fastbp import nn, optim

torch.set_num_threads(1)  # faster than two for networks of this size
ENVIRONMENTS, STEPS, ITERATIONS, EPOCHS, MINI_BATCH = 8, 32, 160, 20, 256

# %%
# Two networks, for the policy and for the value.


def actor_critic(nn):
    class ActorCritic(nn.Module):
        def __init__(self):
            super().__init__()
            self.policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
            self.value = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

        def forward(self, x):
            return nn.functional.log_softmax(self.policy(x), dim=1), self.value(x)[:, 0]

    return ActorCritic()


# %%
# One update, on a mini-batch of what the agent has seen.


def update(xp, nn, net, opt, states, actions, old, advantage, returns):
    rows = xp.arange(len(states))
    every, value = net(states)
    ratio = xp.exp(every[rows, actions] - old)
    surrogate = xp.minimum(ratio * advantage, xp.clip(ratio, 0.8, 1.2) * advantage).mean()
    loss = 0.5 * ((value - returns) ** 2).mean() - surrogate
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    opt.step()


# %%
# The loop around it is NumPy's and gymnasium's: it plays, estimates advantages, and calls ``update``.


def advantages(rewards, values, ends, last, discount=0.98, smoothing=0.8):
    """Generalised advantage estimation (Schulman et al., 2016)."""
    found, following = numpy.zeros_like(rewards), numpy.zeros_like(last)
    for t in reversed(range(len(rewards))):
        after = last if t == len(rewards) - 1 else values[t + 1]
        error = rewards[t] + discount * after * (1 - ends[t]) - values[t]
        found[t] = following = error + discount * smoothing * (1 - ends[t]) * following
    return found


def train(xp, nn, optim, array, no_grad, weights, iterations=ITERATIONS):
    """Return the length of every episode with the step at which it ended, and the seconds of updates and of answers."""
    rng = numpy.random.default_rng(0)
    games = gymnasium.make_vec("CartPole-v1", num_envs=ENVIRONMENTS, vectorization_mode="sync")
    net = actor_critic(nn)
    net.load_state_dict({name: array(value) for name, value in weights.items()})
    opt = optim.Adam(net.parameters(), lr=1e-3, eps=1e-5)
    state, _ = games.reset(seed=0)
    lengths, ended, episodes = numpy.zeros(ENVIRONMENTS), numpy.zeros(ENVIRONMENTS, bool), []
    seconds = {"updates": 0.0, "answers": 0.0}
    for iteration in range(iterations):
        seen = {name: [] for name in ("states", "actions", "old", "rewards", "values", "ends", "counts")}
        for step in range(STEPS):
            begin = perf_counter()
            with no_grad():
                log_probability, value = (numpy.asarray(output) for output in net(array(state)))
            seconds["answers"] += perf_counter() - begin
            action = (rng.random(ENVIRONMENTS) < numpy.exp(log_probability[:, 1])).astype(int)
            after, reward, terminated, truncated, _ = games.step(action)
            chosen = log_probability[numpy.arange(ENVIRONMENTS), action]
            # The step behind an end only resets a game: it counts for nothing.
            noted = state, action, chosen, reward, value, terminated | truncated, ~ended
            for name, what in zip(seen, noted):
                seen[name].append(numpy.array(what))
            lengths += ~ended
            ended = terminated | truncated
            for game in numpy.flatnonzero(ended):
                episodes.append(((iteration * STEPS + step) * ENVIRONMENTS, lengths[game]))
                lengths[game] = 0
            state = after
        seen = {name: numpy.stack(values) for name, values in seen.items()}
        with no_grad():
            last = numpy.asarray(net(array(state))[1])
        rewards, values = seen["rewards"].astype("float32"), seen["values"].astype("float32")
        advantage = advantages(rewards, values, seen["ends"].astype("float32"), last)
        counts = seen["counts"].ravel()
        flat = [seen["states"].reshape(-1, 4), seen["actions"].ravel(), seen["old"].ravel()]
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        flat = [part[counts] for part in (*flat, scaled.ravel(), (advantage + values).ravel())]
        opt.param_groups[0]["lr"] = 1e-3 * (1 - iteration / iterations)
        begin = perf_counter()
        for _ in range(EPOCHS):
            order = rng.permutation(len(flat[0]))
            for first in range(0, len(order), MINI_BATCH):
                rows = order[first : first + MINI_BATCH]
                update(xp, nn, net, opt, *(array(part[rows]) for part in flat))
        seconds["updates"] += perf_counter() - begin
    games.close()
    return numpy.array(episodes), seconds


# %%
# Both libraries, from the same weights.

start = actor_critic(nn)
for number, parameter in enumerate(start.parameters()):
    if parameter.ndim == 2:
        nn.init.orthogonal_(parameter, gain=2**0.5, rng=number)
    else:
        nn.init.zeros_(parameter)
start.policy[4].weight.data[...] *= 0.01
weights = start.state_dict()
train_fastbp = (numpy, nn, optim, numpy.asarray, fastbp.no_grad, weights)
train_torch = (torch, torch.nn, torch.optim, torch.as_tensor, torch.no_grad, weights)
curves = {}
for name, library in {"fastbp": train_fastbp, "PyTorch": train_torch}.items():
    train(*library, iterations=1)  # to compile and to warm up
    curves[name] = train(*library)
    parts = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in curves[name][1].items())
    print(f"{name + ':':9} {parts}; the last 20 episodes took {curves[name][0][-20:, 1].mean():.0f} steps")
ratio = {what: curves["PyTorch"][1][what] / curves["fastbp"][1][what] for what in ("updates", "answers")}
print(f"PyTorch's time over fastbp's: updates {ratio['updates']:.1f}, answers {ratio['answers']:.1f}")

# %%
# Learning curves against the number of steps, and the seconds that the libraries took for them.

figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained", width_ratios=(2, 1))
for (name, (episodes, _)), line in zip(curves.items(), ("-", "--")):
    smooth = numpy.convolve(episodes[:, 1], numpy.ones(20) / 20, "valid")
    left.plot(episodes[19:, 0], smooth, line, label=name)
left.set(xlabel="steps of the game", ylabel="length of an episode, mean of 20")
left.legend()
names = ("updates", "answers")
for place, (name, (_, seconds)) in enumerate(curves.items()):
    right.bar(numpy.arange(2) + 0.4 * place, [seconds[what] for what in names], width=0.38, label=name)
right.set_xticks([0.2, 1.2], names)
right.set(ylabel="seconds")
pyplot.show()
