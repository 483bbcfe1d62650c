"""Python threads, process pools and other libraries beside fastbp: the same bits as alone, wherever it runs.

python tests/soak/pools.py --count 20
"""

from __future__ import annotations

import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise, permutations
from threading import Barrier, Thread

import numpy
from report import Report, last_line, parser, run_python

LARGE = (100, 200, 10)  # at 256 rows a batch: enough work for threads
WAYS = ("fork", "spawn", "loky", "executor")
LIBRARIES = ("fastbp", "torch", "sklearn")


def train(seed, widths=LARGE, threads=2, epochs=2):
    """A digest of the parameters and losses of a small training."""
    import fastbp
    from fastbp import nn, optim

    fastbp.set_num_threads(threads)
    rng = numpy.random.default_rng(seed)
    layers = [nn.Linear(i, o, rng=rng) for i, o in pairwise(widths)]
    model = nn.Sequential(layers[0], nn.ReLU(), *layers[1:])
    x = rng.standard_normal((600, widths[0])).astype("f4")
    target = rng.standard_normal((600, widths[-1])).astype("f4")
    opt = optim.SGD(model.parameters(), lr=0.01)
    history = fastbp.train_model(
        model, x, target, x[:50], target[:50], nn.MSELoss(), opt, epochs, 256, shuffle=True, rng=seed, progress=False
    )
    digest = hashlib.sha256(b"".join(value.tobytes() for value in model.state_dict().values()))
    digest.update(repr((list(history.items()), model.predict(x[:3]).tolist())).encode())
    return digest.hexdigest()


def in_threads(count, threads):
    """Digests of ``count`` trainings that start at once in Python's threads."""
    results, gate = [None] * count, Barrier(count)

    def work(seed):
        gate.wait()
        results[seed] = train(seed, (20, 30 + seed, 3) if threads == 1 else LARGE, threads)

    workers = [Thread(target=work, args=(seed,)) for seed in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


def in_processes(way, seeds):
    """The digests as a pool of two other processes computes them."""
    if way == "loky":
        from joblib import Parallel, delayed

        return Parallel(2, backend="loky")(delayed(train)(seed) for seed in seeds)
    if way == "executor":
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            return list(pool.map(train, seeds))
    with multiprocessing.get_context(way).Pool(2) as pool:
        return pool.map(train, seeds)


BESIDE = """
import sys
for name in sys.argv[1:]:
    __import__(name)
import numpy, torch
from sklearn.linear_model import SGDRegressor
import pools
x = numpy.random.default_rng(0).standard_normal((600, 100)).astype("f4")
digests = set()
for _ in range(2):
    digests.add(pools.train(0))
    linear = torch.nn.Linear(100, 3)
    linear(torch.from_numpy(x)).square().mean().backward()
    assert torch.isfinite(linear.weight.grad).all()
    assert numpy.isfinite(SGDRegressor(max_iter=3, tol=None).fit(x, x[:, 0]).predict(x)).all()
    (torch.from_numpy(x) @ torch.from_numpy(x).T).sum()
(digest,) = digests
print(digest)
"""


def main():
    arguments = parser(__doc__, 20)
    arguments.add_argument("--ways", nargs="*", default=WAYS)
    arguments.add_argument("--orders", type=int, default=6, help="so many orders of import")
    arguments.add_argument("--here", action="store_true", help="threads and pools in this process")
    chosen = arguments.parse_args()
    with Report() as counts:
        if not chosen.here:
            here = ("--here", "--count", str(chosen.count), "--ways", *chosen.ways)
            counts.update(last_line(run_python(__file__, *here, seconds=1800)))
            orders = list(permutations(LIBRARIES))[: chosen.orders]
            digests = {run_python("-c", BESIDE, *order) for order in orders}
            assert digests == {train(0) + "\n"}, "the same bits beside the other libraries, in any order"
            counts["import_orders"] = len(orders)
            return
        for threads in (1, 2):
            alone = [train(seed, (20, 30 + seed, 3) if threads == 1 else LARGE, threads) for seed in range(8)]
            for _ in range(chosen.count):
                assert in_threads(8, threads) == alone, "eight models at once are as if trained alone"
        counts["trainings_in_threads"] = 2 * 8 * chosen.count
        seeds = list(range(max(2, chosen.count)))
        alone = [train(seed) for seed in seeds]
        for way in chosen.ways:
            assert in_processes(way, seeds) == alone, way
        counts["trainings_in_processes"] = len(seeds) * len(chosen.ways)


if __name__ == "__main__":
    main()
