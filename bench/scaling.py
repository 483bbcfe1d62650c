"""asv: how the time of a training step grows with the size of one thing, in fastbp and in PyTorch.

The networks are ReLU layers of equal width; everything but the thing that grows is 3 layers of 64, mini-batches of 64,
one thread.
"""

from bench import in_asv
from bench.workloads import square

LIBRARIES = [in_asv.OURS, in_asv.TORCH]
MIDDLE = 64


class Batch(in_asv.Timed):
    params = ([1, 4, 16, 64, 256, 1024, 4096], LIBRARIES)
    param_names = ("mini-batch", "library")

    def setup(self, mini_batch, library):
        self.prepare(library, square(MIDDLE, mini_batch))

    def time_step(self, mini_batch, library):
        self.piece()


class Width(in_asv.Timed):
    params = ([8, 16, 32, 64, 128, 256, 512, 1024], LIBRARIES)
    param_names = ("width", "library")

    def setup(self, width, library):
        self.prepare(library, square(width, MIDDLE))

    def time_step(self, width, library):
        self.piece()


class Depth(in_asv.Timed):
    params = ([1, 2, 4, 8, 16, 32], LIBRARIES)
    param_names = ("layers", "library")

    def setup(self, layers, library):
        self.prepare(library, square(MIDDLE, MIDDLE, depth=layers))

    def time_step(self, layers, library):
        self.piece()


class Samples(in_asv.Timed):
    """More samples than the caches hold must not make a step slower."""

    params = ([64, 1024, 16_384, 262_144], LIBRARIES)
    param_names = ("samples", "library")

    def setup(self, samples, library):
        self.prepare(library, square(MIDDLE, MIDDLE, steps=samples // MIDDLE))

    def time_step(self, samples, library):
        self.piece()


class Threads(in_asv.Timed):
    """A large network: 3 layers of 512, mini-batches of 512."""

    params = ([1, 2, 4, 8], LIBRARIES)
    param_names = ("threads", "library")

    def setup(self, threads, library):
        in_asv.require_cores(threads)
        self.prepare(library, square(512, 512), threads)

    def time_step(self, threads, library):
        self.piece()
