"""Kill ``python -m fastbp sweep`` at any moment, again and again: the table and the best model are as without kills.

python tests/soak/sweep_kills.py --count 1000 --processes 60

Most of the victims are forks of this process, in which all is imported: any moment of the sweep is as likely as any
other. The others are whole processes, on two threads. After each kill all that had ended is still there, with the
numbers of the sweep that nobody killed, and the next victim goes on in the same folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import numpy
from report import Report, child_environment, parser

import fastbp
from fastbp.__main__ import main as command

CHUNK = "3"  # models that a kill may cost
MODEL = '[model]\nhidden = [[8], [16, 8]]\nactivation = ["ReLU", "Tanh"]\n'
TRAINING = "[training]\nepochs = 60\nlr = [0.001, 0.01]\nseeds = [0, 1, 2]\n"
FILES = {
    "values": '[data]\nfile = "table.csv"\ntarget = "y"\n' + MODEL + TRAINING,
    "classes": '[data]\ninput = "x.npy"\ntarget = "y.npy"\n' + MODEL + TRAINING
    + 'loss = "CrossEntropyLoss"\noptimizer = ["Adam", "SGD"]\npatience = 3\n',
}  # fmt: skip
LINE = ("sweep", "sweep.toml", "--chunk-size", CHUNK)


def new_folder(inside, kind):
    """A folder with a sweep that has not begun."""
    folder = Path(tempfile.mkdtemp(dir=inside))
    rows = numpy.random.default_rng(0).standard_normal((300, 4))
    numpy.savetxt(folder / "table.csv", rows, delimiter=",", header="a,b,c,y", comments="")
    numpy.save(folder / "x.npy", rows[:, :3])
    numpy.save(folder / "y.npy", (rows[:, 3] > 0).astype(int))
    (folder / "sweep.toml").write_text(FILES[kind])
    return folder


def here(folder):
    """The sweep in this process."""
    os.chdir(folder)
    sys.argv[1:] = LINE
    with Path("table.txt").open("w") as table, redirect_stdout(table):
        command()


def in_fork(folder):
    """Begin the sweep in a fork of this process, which has no other threads; return its number."""
    child = os.fork()
    if child == 0:
        here(folder)
        os._exit(0)
    return child


def in_process(folder):
    """Begin the sweep as a user does; return the number of the process."""
    with (folder / "table.txt").open("w") as table:
        line = [sys.executable, "-m", "fastbp", *LINE]
        return subprocess.Popen(line, cwd=folder, env=child_environment(), stdout=table).pid


def whole(inside, kind, begin):
    """The folder of a sweep that nobody killed, and its seconds: the second one finds all in the machine's memory."""
    for _ in range(2):
        folder, start = new_folder(inside, kind), time.perf_counter()
        assert os.waitpid(begin(folder), 0)[1] == 0
    return folder, time.perf_counter() - start


def ended(folder):
    """The results of all trainings that have ended, but for their seconds."""
    path = folder / "results" / "results.jsonl"
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    entries = {json.dumps(entry["setting"]): entry for entry in map(json.loads, lines)}
    for entry in entries.values():
        del entry["seconds"]
    assert len(entries) == len(lines), "a training has been done again"
    return entries


def best_model(folder):
    """Its modules and the bits of its parameters; safetensors itself writes names in any order."""
    model = fastbp.load(folder / "results" / "best.safetensors").model
    return repr(model), [(name, value.tobytes()) for name, value in model.state_dict().items()]


def go_through(expected, folder, begin, seconds, kills, counts):
    """Kill the sweep in ``folder`` at random moments until it comes through; compare it with ``expected``."""
    all_entries, before, status = ended(expected), {}, None
    while status != 0:
        child = begin(folder)
        if counts["kills"] < kills:
            time.sleep(random.uniform(0, 0.7 * seconds))
            os.kill(child, signal.SIGKILL)  # of one that has come through too: nobody has waited for it yet
        status = os.waitpid(child, 0)[1]
        was_killed, entries = os.WIFSIGNALED(status), ended(folder)
        assert was_killed or status == 0, status
        assert entries.items() <= all_entries.items(), "other results"
        assert before.items() <= entries.items(), "a result was lost"
        counts["kills"] += was_killed
        counts["with_new_results"] += was_killed and before.keys() < entries.keys()
        counts["saves_cut_off"] += any((folder / "results").glob(".*.fastbp-tmp"))
        before = entries
    assert entries == all_entries
    assert (folder / "table.txt").read_text() == (expected / "table.txt").read_text(), "another table"
    assert best_model(folder) == best_model(expected), "another best model"
    counts["sweeps"] += 1


def main():
    arguments = parser(__doc__, 1000)
    arguments.add_argument("--processes", type=int, default=40, help="how many of the kills are of whole processes")
    chosen = arguments.parse_args()
    fastbp.set_num_threads(1)
    found: Counter[str] = Counter()
    with Report() as counts, tempfile.TemporaryDirectory() as inside:
        for kind in FILES:
            here(new_folder(inside, kind))  # imports all, and has all compiled
        for begin, kills in ((in_process, chosen.processes), (in_fork, chosen.count)):
            wholes = {kind: whole(inside, kind, begin) for kind in FILES} if found["kills"] < kills else {}
            while found["kills"] < kills:
                for kind, (expected, seconds) in wholes.items():
                    go_through(expected, new_folder(inside, kind), begin, seconds, kills, found)
        counts.update(found)


if __name__ == "__main__":
    main()
