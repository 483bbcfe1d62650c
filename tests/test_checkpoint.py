"""fastbp.save and fastbp.load: the same bits, a whole file or none, and clear errors for any other file."""

import errno
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from helpers import assert_unchanged, child_environment, mlp, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from same_bits import Network, assert_same_bits, train
from test_own_modules import Scale
from test_resume import Stop, StoppingSGD, outcome

import fastbp
from fastbp import checkpoint_file, nn, optim

NETWORK = Network((4, 9, 3), ("Tanh", None))
GENERATORS = [getattr(numpy.random, n) for n in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")]


def stopped_training(dtype, steps=13, kind=numpy.random.PCG64):
    """Model, optimiser and history of a training of three epochs that stopped in its third."""
    model, history, rng = NETWORK.build(dtype), fastbp.History(), numpy.random.Generator(kind(5))
    opt = StoppingSGD(model.parameters(), lr=0.05)
    opt.last = steps
    with pytest.raises(Stop):
        go_on(model, dtype, opt, history, rng)
    return model, optim.SGD(model.parameters(), lr=0.05), history


def go_on(model, dtype, opt, history, rng=None):
    data = NETWORK.data(dtype, 40, 20)
    fastbp.train_model(model, *data, nn.MSELoss(), opt, 3, 7, shuffle=True, rng=rng, history=history)


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("steps", [0, 5, 6, 13, 17])
def test_a_training_goes_on_from_a_file_with_the_same_bits(steps, kind, dtype, tmp_path):
    fastbp.save(tmp_path / "c", *stopped_training(dtype, steps, kind))
    model, opt, history = fastbp.load(tmp_path / "c")
    go_on(model, dtype, opt, history, None if steps else numpy.random.Generator(kind(5)))
    rng = numpy.random.Generator(kind(5))
    expected = train(NETWORK.build(dtype), NETWORK.data(dtype, 40, 20), 3, 7, shuffle=True, rng=rng)
    assert_same_bits(expected, outcome(model, history))


def test_a_loaded_history_is_the_one_saved(dtype, tmp_path):
    model, opt, history = stopped_training(dtype)
    history["val_loss"][0] = numpy.nan
    history["train_loss"][1] = 0.1 + 0.2
    fastbp.save(tmp_path / "c", model, opt, history)
    loaded = fastbp.load(tmp_path / "c")
    for name, values in history.items():
        numpy.testing.assert_array_equal(loaded.history[name], values)
    for name in ("way", "seconds", "setting", "position"):
        assert getattr(loaded.history, name) == getattr(history, name), name
    assert loaded.opt.lr == opt.lr


def test_every_network_of_the_library_comes_back(dtype, tmp_path):
    inner = nn.Sequential(nn.Sigmoid(), nn.Sequential(), nn.Linear(3, 3, bias=False, dtype=dtype))
    model = nn.Sequential(nn.Linear(4, 3, dtype=dtype), nn.ReLU(), inner, nn.Tanh(), nn.Linear(3, 1, dtype=dtype))
    for whole in (model, nn.Linear(5, 2, dtype=dtype), nn.ReLU(), nn.Sequential()):
        fastbp.save(tmp_path / "c", whole)
        loaded = fastbp.load(tmp_path / "c")
        assert repr(loaded.model) == repr(whole)
        assert loaded.opt is None
        assert loaded.history is None
        assert_unchanged(loaded.model, snapshot(whole))


def test_a_model_with_a_users_module_is_filled(dtype, tmp_path):
    def build():
        return nn.Sequential(nn.Linear(4, 3, dtype=dtype), Scale(3, dtype))

    model = build()
    fastbp.save(tmp_path / "c", model, optim.SGD([model[1].factor], lr=0.3))
    with pytest.raises(fastbp.CheckpointError, match=r"build the model and pass it, model="):
        fastbp.load(tmp_path / "c")
    other = build()
    loaded = fastbp.load(tmp_path / "c", model=other)
    assert loaded.model is other
    assert_unchanged(other, snapshot(model))
    assert loaded.opt.parameters == (other[1].factor,)


def test_an_optimiser_that_is_given_takes_the_saved_settings(tmp_path):
    model, opt, _ = stopped_training(numpy.float32)
    fastbp.save(tmp_path / "c", model, opt)
    opt.lr = 7.0
    assert fastbp.load(tmp_path / "c", model, opt).opt is opt
    assert opt.lr == 0.05


def test_what_cannot_be_saved_is_refused_and_leaves_the_file(tmp_path):
    model, opt, history = stopped_training(numpy.float32)
    fastbp.save(tmp_path / "c", model, opt, history)
    before = (tmp_path / "c").read_bytes()
    other = optim.SGD(mlp(4, 3).parameters(), lr=0.1)
    wrong = [
        (3, None, None),
        (model, other, None),
        (model, StoppingSGD(model.parameters(), lr=1), None),
        (model, opt, {}),
    ]
    for arguments in wrong:
        with pytest.raises((TypeError, ValueError), match=r"save (takes|knows)"):
            fastbp.save(tmp_path / "c", *arguments)
    assert (tmp_path / "c").read_bytes() == before


MISFITS = {
    "network": lambda: {"model": mlp(4, 8, 3)},
    "deeper network": lambda: {"model": mlp(4, 9, 9, 3)},
    "optimiser of another model": lambda: {"opt": optim.SGD(mlp(4, 9, 3).parameters(), lr=7)},
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_before_anything_changes(case, tmp_path):
    fastbp.save(tmp_path / "c", *stopped_training(numpy.float32))
    model = mlp(4, 9, 3, seed=8)
    opt = optim.SGD(model.parameters(), lr=7)
    arguments = {"model": model, "opt": opt, **MISFITS[case]()}
    before = snapshot(arguments["model"])
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "c", **arguments)
    assert_unchanged(arguments["model"], before)
    assert arguments["opt"].lr == 7


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "c"
    fastbp.save(path, *stopped_training(numpy.float32))
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path):
    def check(data):
        (tmp_path / "c").write_bytes(data)
        model = mlp(4, 9, 3)
        before = snapshot(model)
        with pytest.raises(fastbp.CheckpointError) as error:
            fastbp.load(tmp_path / "c", model=model)
        assert str(tmp_path / "c") in str(error.value)
        assert_unchanged(model, before)
        with pytest.raises(fastbp.CheckpointError):
            fastbp.load(tmp_path / "c")

    return check


def test_a_file_that_is_cut_off_anywhere_is_refused(saved, refused):
    for length in [*range(0, len(saved), 61), len(saved) - 1]:
        refused(saved[:length])


def test_a_changed_byte_anywhere_is_noticed(saved, refused):
    for place in range(0, len(saved), 23):
        refused(saved[:place] + bytes([saved[place] ^ 1]) + saved[place + 1 :])


def header(text, data=b""):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text + data


FOREIGN = {
    "nothing": b"",
    "text": b"This is a letter and no checkpoint at all.",
    "zeros": bytes(1000),
    "a pickle": pickle.dumps(nn.ReLU()),
    "a huge header": struct.pack("<Q", 2**63) + b"{}",
    "a long header": struct.pack("<Q", 100) + b"{}",
    "deep": header("[" * 100000),
    "deep and closed": header('{"__metadata__":' + "[" * 5000 + "]" * 5000 + "}"),
    "no object": header("3"),
    "not UTF-8": header(b'{"__metadata__": {"format": "\xff\xfe"}}'),
    "no metadata": header("{}"),
    "metadata of another kind": header('{"__metadata__": 3}'),
    "a name twice": header('{"__metadata__": {"format": "fastbp"}, "__metadata__": {"format": "fastbp"}}'),
    "another program's": header('{"__metadata__": {"format": "pt"}}'),
    "a format to come": header('{"__metadata__": {"format": "fastbp", "version": "9"}}'),
    "no content": header('{"__metadata__": {"format": "fastbp", "version": "1"}}'),
    "a long number": header('{"__metadata__": ' + "9" * 5000 + "}"),
    "NaN": header('{"__metadata__": NaN}'),
}
for _size in ("-1", "1e400", "NaN", str(2**64), "99999999999999", '"3"', "[1]", "null"):
    FOREIGN[f"a shape of {_size}"] = header(
        '{"__metadata__": {"format": "fastbp", "version": "1", "content": "{}", "sha256": ""}, '
        f'"model.0.weight": {{"dtype": "F32", "shape": [{_size}, {_size}], "data_offsets": [0, 8]}}}}',
        bytes(8),
    )


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_is_refused(case, refused):
    refused(FOREIGN[case])


def forged(data, change):
    """A file whose content has been changed by someone who knows the format, checksum and all."""
    size = struct.unpack("<Q", data[:8])[0]
    content = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["content"])
    tensors = dict(checkpoint_file.import_safetensors("test").load(data))
    change(content, tensors)
    return checkpoint_file.pack(tensors, content)


def at(*path, value):
    def change(content, tensors):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


def tensor(name, value):
    return lambda content, tensors: tensors.__setitem__(name, value)


def nested(content, tensors):
    for _ in range(400):
        content["network"] = {"type": "Sequential", "modules": [content["network"]]}


F = ("network", "modules", 0)
HOSTILE = {
    "absurd size": at(*F, "out_features", value=10**18),
    "float size": at(*F, "out_features", value=9.0),
    "size as a truth": at(*F, "in_features", value=True),
    "unknown module": at(*F, "type", value="os.system"),
    "module without type": at(*F, value={}),
    "module that is none": at(*F, value=3),
    "no modules": at("network", "modules", value=None),
    "deep network": nested,
    "dtype": at(*F, "dtype", value="object"),
    "tensor too many": tensor("model.9.weight", numpy.zeros(3, numpy.float32)),
    "tensor of integers": tensor("model.0.bias", numpy.zeros(9, numpy.int64)),
    "tensor of another shape": tensor("model.0.bias", numpy.zeros(8, numpy.float32)),
    "optimiser": at("optimiser", "type", value="Popen"),
    "lr": at("optimiser", "lr", value="nan"),
    "negative lr": at("optimiser", "lr", value="-0x1p+0"),
    "parameters": at("optimiser", "parameters", value=["0.weight", "x"]),
    "no parameters": at("optimiser", "parameters", value=[]),
    "series": tensor("history.train_loss", numpy.zeros((2, 2))),
    "series too short": tensor("history.val_loss", numpy.zeros(1)),
    "batches": at("history", "batches", value=-1),
    "batches too many": at("history", "batches", value=99),
    "no setting": at("history", "setting", value=None),
    "setting": at("history", "setting", "mini_batch_size", value=0),
    "seconds": at("history", "seconds", value="soon"),
    "generator": at("history", "generator", value={"bit_generator": "SystemRandom"}),
    "generator state": at("history", "generator", "state", "state", value=-1),
    "generator flag": at("history", "generator", "has_uint32", value=7),
    "generator's place": at(
        "history", "generator",
        value={"bit_generator": "MT19937", "state": {"key": [1] * 624, "pos": 10**6}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused(case, saved, tmp_path):
    (tmp_path / "c").write_bytes(forged(saved, HOSTILE[case]))
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "c")


@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=60), st.integers(0, 5000), st.integers(0, 60))
def test_bytes_put_anywhere_are_noticed(saved, tmp_path_factory, inserted, place, removed):
    data = saved[:place] + inserted + saved[place + removed :]
    if data == saved:
        return
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data)
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(path)


def test_a_folder_and_a_pipe_are_refused_and_a_missing_file_is_missing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(fastbp.CheckpointError, match="is not a file"):
            fastbp.load(path)
    with pytest.raises(FileNotFoundError):
        fastbp.load(tmp_path / "nowhere")


def temporaries(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".fastbp-tmp")]


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
def test_a_save_that_fails_leaves_the_file_and_nothing_beside_it(call, saved, tmp_path, monkeypatch):
    (tmp_path / "c").write_bytes(saved)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        monkeypatch.setattr(os, "fdopen", full)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        fastbp.save(tmp_path / "c", mlp(4, 3))
    monkeypatch.undo()
    assert (tmp_path / "c").read_bytes() == saved
    assert not temporaries(tmp_path)


def test_a_save_syncs_the_file_before_it_takes_its_place_and_the_folder_behind(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(stat.S_ISDIR(os.fstat(d).st_mode)), fsync(d)))
    monkeypatch.setattr(type(tmp_path), "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    fastbp.save(tmp_path / "c", mlp(4, 3))
    assert done == [False, "replace", True]


def test_what_a_killed_save_left_goes_with_the_next(tmp_path):
    (tmp_path / ".c.0123456789abcdef.fastbp-tmp").write_bytes(b"half")
    (tmp_path / ".other.0123456789abcdef.fastbp-tmp").write_bytes(b"another file's")
    fastbp.save(tmp_path / "c", mlp(4, 3))
    assert temporaries(tmp_path) == [".other.0123456789abcdef.fastbp-tmp"]


def test_a_save_under_way_in_another_process_is_left_alone(tmp_path):
    import fcntl

    with (tmp_path / ".c.0123456789abcdef.fastbp-tmp").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fastbp.save(tmp_path / "c", mlp(4, 3))
        assert temporaries(tmp_path)


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path):
    fastbp.save(tmp_path / "c", mlp(4, 3))
    (tmp_path / "c").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "c")
    fastbp.save(str(tmp_path / "link"), mlp(4, 2))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640
    assert fastbp.load(tmp_path / "c").model[0].out_features == 2


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch, saved):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"fastbp.save needs safetensors: .*fastbp\[checkpoint\]"):
        fastbp.save(tmp_path / "c", mlp(4, 3))
    (tmp_path / "d").write_bytes(saved)
    with pytest.raises(ImportError, match=r"fastbp.load needs safetensors: .*fastbp\[checkpoint\]"):
        fastbp.load(tmp_path / "d")
    assert not (tmp_path / "c").exists()


def test_a_few_kills_lose_nothing_but_the_save_under_way(tmp_path):
    script = Path(__file__).parent / "soak" / "kills.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", "5"], env=child_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "5 kills" in done.stdout
