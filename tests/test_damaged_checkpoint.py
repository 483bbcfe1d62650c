"""fastbp.load of files that are cut off, damaged, foreign or forged: a clear error, and nothing changes."""

import json
import os
import pickle
import struct

import numpy
import pytest
from helpers import assert_unchanged, mlp, snapshot
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from test_checkpoint import stopped_training

import fastbp
from fastbp import nn
from fastbp.checkpoint import file_format as checkpoint_file


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
    tensors = dict(checkpoint_file.import_safetensors("test").numpy.load(data))
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
    "lr": at("optimiser", "groups", 0, "lr", value="nan"),
    "negative lr": at("optimiser", "groups", 0, "lr", value="-0x1p+0"),
    "parameters": at("optimiser", "groups", 0, "parameters", value=["0.weight", "x"]),
    "no parameters": at("optimiser", "groups", 0, "parameters", value=[]),
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


@examples(max_examples=300)
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
