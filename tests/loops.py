"""Ordinary loops of PyTorch's users, one text for both libraries: only the names of array functions differ.

Each function takes a library and returns all parameters and losses as it leaves them.
"""

from itertools import pairwise

import numpy
import torch

import fastbp
from fastbp import nn, optim

STEPS = 50


class Library:
    """Names that a loop uses: ``xp`` for array functions, ``nn``, ``optim``, and arrays from NumPy's."""

    def __init__(self, xp, nn, optim, array, no_grad, float64):
        self.xp, self.nn, self.optim, self.array, self.no_grad, self.float64 = xp, nn, optim, array, no_grad, float64

    def linear(self, inputs, outputs):
        return self.nn.Linear(inputs, outputs, dtype=self.float64)

    def network(self, *sizes, activation="Tanh"):
        modules = []
        for inputs, outputs in pairwise(sizes):
            modules += [self.linear(inputs, outputs), getattr(self.nn, activation)()]
        return self.nn.Sequential(*modules[:-1])

    def fill(self, module, seed):
        """Give a module the same parameters in both libraries."""
        rng = numpy.random.default_rng(seed)
        state = {name: 0.4 * rng.normal(size=tuple(value.shape)) for name, value in module.state_dict().items()}
        module.load_state_dict({name: self.array(value) for name, value in state.items()})
        return module

    def draw(self, shape, seed):
        return self.array(numpy.random.default_rng(seed).normal(size=shape))


OURS = Library(numpy, nn, optim, numpy.asarray, fastbp.no_grad, numpy.float64)
THEIRS = Library(torch, torch.nn, torch.optim, torch.tensor, torch.no_grad, torch.float64)


def left(modules, losses):
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return [numpy.array(numpy.asarray(parameter.detach())) for parameter in parameters] + [numpy.array(losses)]


def layer_used_twice_with_a_skip(lib):
    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.last = lib.linear(4, 8), lib.linear(8, 8), lib.linear(8, 2)

        def forward(self, x):
            h = lib.xp.tanh(self.first(x))
            h = h + lib.xp.tanh(self.again(h))
            h = h + lib.xp.tanh(self.again(h))
            return self.last(h)

    net, criterion, losses = lib.fill(Net(), 1), lib.nn.MSELoss(), []
    x, y = lib.draw((20, 4), 2), lib.draw((20, 2), 3)
    opt = lib.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        loss = criterion(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return left([net], losses)


def proximal_policy_optimisation(lib):
    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = lib.network(4, 16, 16)
            self.policy, self.value = lib.linear(16, 2), lib.linear(16, 1)

        def forward(self, x):
            h = lib.xp.tanh(self.body(x))
            return self.policy(h), self.value(h)[:, 0]

    xp, net, losses = lib.xp, lib.fill(Net(), 1), []
    states, advantage, returns = lib.draw((64, 4), 2), lib.draw(64, 3), lib.draw(64, 4)
    actions = lib.array(numpy.random.default_rng(5).integers(0, 2, 64))
    rows = lib.array(numpy.arange(64))
    opt = lib.optim.Adam(net.parameters(), lr=0.01)

    def log_probabilities(logits):
        shifted = logits - xp.log(xp.exp(logits).sum(axis=1, keepdims=True))
        return shifted, shifted[rows, actions]

    with lib.no_grad():
        old = log_probabilities(net(states)[0])[1].detach()
    for _ in range(STEPS):
        logits, value = net(states)
        every, chosen = log_probabilities(logits)
        ratio = xp.exp(chosen - old)
        entropy = -(xp.exp(every) * every).sum(axis=1).mean()
        surrogate = -xp.minimum(ratio * advantage, xp.clip(ratio, 0.8, 1.2) * advantage).mean()
        loss = surrogate + 0.5 * ((value - returns) ** 2).mean() - 0.01 * entropy
        opt.zero_grad()
        loss.backward()
        lib.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.step()
        losses.append(loss.item())
    return left([net], losses)


def gaussian_policy_through_its_critic(lib):
    class Actor(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.mean, self.log_std = lib.network(3, 16, 16), lib.linear(16, 2), lib.linear(16, 2)

        def forward(self, x, noise):
            h = lib.xp.tanh(self.body(x))
            log_std = lib.xp.clip(self.log_std(h), -5.0, 2.0)
            raw = self.mean(h) + lib.xp.exp(log_std) * noise
            action = lib.xp.tanh(raw)
            log_probability = -0.5 * noise**2 - log_std - lib.xp.log(1 - action**2 + 1e-6)
            return action, log_probability.sum(axis=1)

    xp, actor, losses = lib.xp, lib.fill(Actor(), 1), []
    critics = [lib.fill(lib.network(5, 16, 16, 1), seed) for seed in (2, 3)]
    targets = [lib.fill(lib.network(5, 16, 16, 1), seed) for seed in (2, 3)]
    of_actor = lib.optim.Adam(actor.parameters(), lr=0.003)
    of_critics = lib.optim.Adam([p for critic in critics for p in critic.parameters()], lr=0.003)
    states, actions, after = lib.draw((64, 3), 4), xp.tanh(lib.draw((64, 2), 5)), lib.draw((64, 3), 6)
    rewards = lib.draw(64, 7)

    def value(networks, state, action):
        inputs = xp.concatenate([state, action], axis=1)
        return [network(inputs)[:, 0] for network in networks]

    for step in range(STEPS):
        with lib.no_grad():
            action, log_probability = actor(after, lib.draw((64, 2), 100 + step))
            goal = rewards + 0.9 * (xp.minimum(*value(targets, after, action)) - 0.1 * log_probability)
        of_critics.zero_grad()
        critic_loss = sum(((each - goal) ** 2).mean() for each in value(critics, states, actions))
        critic_loss.backward()
        of_critics.step()

        action, log_probability = actor(states, lib.draw((64, 2), 200 + step))
        actor_loss = (0.1 * log_probability - xp.minimum(*value(critics, states, action))).mean()
        of_actor.zero_grad()
        actor_loss.backward()
        of_actor.step()
        with lib.no_grad():
            for critic, target in zip(critics, targets):
                for own, slow in zip(critic.parameters(), target.parameters()):
                    slow.data[...] = 0.95 * slow.data + 0.05 * own.data
        losses += [critic_loss.item(), actor_loss.item()]
    return left([actor, *critics, *targets], losses)


def variational_autoencoder(lib):
    xp, losses = lib.xp, []
    encoder, decoder = lib.fill(lib.network(6, 16, 4), 1), lib.fill(lib.network(2, 16, 6), 2)
    x = lib.draw((32, 6), 3)
    opt = lib.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=0.01)
    for step in range(STEPS):
        code = encoder(x)
        mean, log_variance = code[:, :2], code[:, 2:]
        sample = mean + xp.exp(0.5 * log_variance) * lib.draw((32, 2), 100 + step)
        divergence = -0.5 * (1 + log_variance - mean**2 - xp.exp(log_variance)).sum(axis=1).mean()
        loss = ((decoder(sample) - x) ** 2).sum(axis=1).mean() + 0.5 * divergence
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return left([encoder, decoder], losses)


def heads_in_turn(lib):
    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = lib.network(4, 8, 8)
            self.heads = lib.nn.ModuleList([lib.linear(8, 1), lib.linear(8, 3), lib.linear(8, 2)])

        def forward(self, x, head):
            return self.heads[head](lib.xp.tanh(self.body(x)))

    net, losses = lib.fill(Net(), 1), []
    criterion, x = lib.nn.MSELoss(), lib.draw((16, 4), 2)
    y = [lib.draw((16, outputs), 3) for outputs in (1, 3, 2)]
    opt = lib.optim.Adam(net.parameters(), lr=0.02, weight_decay=0.01)
    for step in range(STEPS):
        head = step % 3 if step % 4 else 0
        opt.zero_grad()
        loss = criterion(net(x, head), y[head])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return left([net], losses)


def adversarial_networks(lib):
    losses = []
    generator = lib.fill(lib.network(2, 12, 3, activation="LeakyReLU"), 1)
    discriminator = lib.fill(lib.network(3, 12, 1, activation="LeakyReLU"), 2)
    criterion = lib.nn.BCEWithLogitsLoss()
    of_generator = lib.optim.Adam(generator.parameters(), lr=0.01, betas=(0.5, 0.999))
    of_discriminator = lib.optim.Adam(discriminator.parameters(), lr=0.01, betas=(0.5, 0.999))
    ones, zeros = lib.array(numpy.ones((16, 1))), lib.array(numpy.zeros((16, 1)))
    for step in range(STEPS):
        made = generator(lib.draw((16, 2), 100 + step))
        real = criterion(discriminator(lib.draw((16, 3), 200 + step)), ones)
        fake = criterion(discriminator(made.detach()), zeros)
        of_discriminator.zero_grad()
        (real + fake).backward()
        of_discriminator.step()
        fooled = criterion(discriminator(made), ones)
        of_generator.zero_grad()
        fooled.backward()
        of_generator.step()
        losses += [(real + fake).item(), fooled.item()]
    return left([generator, discriminator], losses)


def accumulation_of_several_losses(lib):
    net, criterion, losses = lib.fill(lib.network(4, 8, 2), 1), lib.nn.SmoothL1Loss(), []
    x, y = lib.draw((40, 4), 2), lib.draw((40, 2), 3)
    opt = lib.optim.RMSprop(net.parameters(), lr=0.01)
    for _ in range(STEPS):
        opt.zero_grad()
        parts = [criterion(net(x[start : start + 10]), y[start : start + 10]) for start in range(0, 40, 10)]
        (parts[0] + 0.5 * parts[1]).backward()
        for part in parts[2:]:
            (part / 4).backward()
        penalty = 1e-3 * sum((parameter**2).sum() for parameter in net.parameters())
        penalty.backward()
        opt.step()
        losses += [part.item() for part in (*parts, penalty)]
    return left([net], losses)


def search_for_an_input(lib):
    net, losses = lib.fill(lib.network(3, 16, 16, 1), 1), []
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    x = lib.nn.Parameter(lib.draw((5, 3), 2))
    opt = lib.optim.SGD([x], lr=0.1)
    for _ in range(STEPS):
        opt.zero_grad()
        loss = (net(x) ** 2).sum() + 0.1 * lib.xp.abs(x).sum()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return [*left([net], losses), numpy.array(numpy.asarray(x.detach()))]


def deep_q_learning(lib):
    xp, losses = lib.xp, []
    online, target = lib.fill(lib.network(4, 16, 16, 3), 1), lib.fill(lib.network(4, 16, 16, 3), 1)
    criterion = lib.nn.SmoothL1Loss()
    opt = lib.optim.Adam(online.parameters(), lr=0.003)
    states, after, rewards = lib.draw((64, 4), 2), lib.draw((64, 4), 3), lib.draw(64, 4)
    actions, rows = lib.array(numpy.random.default_rng(5).integers(0, 3, 64)), lib.array(numpy.arange(64))
    for step in range(STEPS):
        with lib.no_grad():
            goal = rewards + 0.95 * xp.amax(target(after), 1)
        loss = criterion(online(states)[rows, actions], goal)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 10 == 9:
            target.load_state_dict(online.state_dict())
        losses.append(loss.item())
    return left([online, target], losses)


LOOPS = [
    layer_used_twice_with_a_skip, proximal_policy_optimisation, gaussian_policy_through_its_critic,
    variational_autoencoder, heads_in_turn, adversarial_networks, accumulation_of_several_losses, search_for_an_input,
    deep_q_learning,
]  # fmt: skip
