"""Distribution functions, and whether a sample follows one."""

import math

import numpy


def uniform(bound):
    return lambda x: numpy.clip((x + bound) / (2 * bound), 0.0, 1.0)


def normal(std):
    return lambda x: numpy.array([0.5 * math.erfc(-value / (std * math.sqrt(2))) for value in x])


def truncated_normal(mean, std, low, high):
    """The normal distribution within [low, high], with the digits of the nearer tail."""
    side = -1 if low > mean else 1

    def tail(x):
        return 0.5 * math.erfc(-side * (x - mean) / (std * math.sqrt(2)))

    return lambda values: numpy.array([(tail(x) - tail(low)) / (tail(high) - tail(low)) for x in values])


def distance(sample, distribution):
    """The largest distance between the sample's distribution function and ``distribution`` (Kolmogorov)."""
    values = numpy.sort(numpy.asarray(sample, dtype=numpy.float64).ravel())
    expected, n = distribution(values), len(values)
    above = (numpy.arange(1, n + 1) / n - expected).max()
    below = (expected - numpy.arange(n) / n).max()
    return max(above, below)


def assert_distributed(sample, distribution):
    """A true sample fails once in 500 seeds, and the seeds are fixed; a scale off by 3 % does not pass."""
    assert distance(sample, distribution) < 1.86 / math.sqrt(numpy.size(sample))
