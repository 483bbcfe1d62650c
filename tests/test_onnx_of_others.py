"""Graphs of other programs: those that are layers of the library become a network, the others say why not."""

import numpy
import onnx
import onnxruntime
import pytest
from helpers import draw
from onnx import helper, numpy_helper
from test_onnx import assert_near, predicted_by_runtime

import fastbp
from fastbp import nn

F32 = numpy.float32


def graph(nodes, constants, path, shape=("n", 5), outputs=("y",), opset=20):
    """Write a model of nodes, each (operator, inputs, output, attributes), from "x" to "y"."""
    made = [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in nodes]
    tensors = [numpy_helper.from_array(numpy.asarray(array), name) for name, array in constants.items()]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, None]) for name in outputs]
    start = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    whole = helper.make_graph(made, "other", [start], ends, tensors)
    onnx.save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)


def run(path, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": rows})[0]


W, B, ROWS = draw((5, 4), F32), draw((4,), F32, seed=1), draw((7, 5), F32, seed=2)
READ = {
    "MatMul and Add": (
        [("MatMul", ["x", "w"], "a", {}), ("Add", ["b", "a"], "c", {}), ("Relu", ["c"], "y", {})],
        "Sequential(\n  (0): Linear(in_features=5, out_features=4, bias=True)\n  (1): ReLU()\n)",
    ),
    "Gemm of a weight that is not transposed": (
        [("Gemm", ["x", "w", "b"], "a", {}), ("Elu", ["a"], "y", {"alpha": 0.3})],
        "Sequential(\n  (0): Linear(in_features=5, out_features=4, bias=True)\n  (1): ELU(alpha=0.3)\n)",
    ),
    "a transposed constant": (
        [("Transpose", ["w"], "t", {}), ("Identity", ["t"], "u", {}), ("Gemm", ["x", "u"], "y", {"transB": 1})],
        "Sequential(\n  (0): Linear(in_features=5, out_features=4, bias=False)\n)",
    ),
    "Clip without an upper bound": (
        [("MatMul", ["x", "w"], "a", {}), ("Clip", ["a", "zero"], "y", {})],
        "Sequential(\n  (0): Linear(in_features=5, out_features=4, bias=False)\n  (1): ReLU()\n)",
    ),
    "Dropout and Identity": (
        [("Dropout", ["x", "half"], "a", {}), ("Identity", ["a"], "c", {}), ("Gemm", ["c", "w", "b"], "y", {})],
        "Sequential(\n  (0): Dropout(p=0.25)\n  (1): Linear(in_features=5, out_features=4, bias=True)\n)",
    ),
    "what its own function is, two times": (
        [("Shrink", ["x"], "a", {"lambd": 0.1, "bias": 0.1}), ("ThresholdedRelu", ["a"], "y", {"alpha": 0.2})],
        "Sequential(\n  (0): Softshrink(lambd=0.1)\n  (1): Threshold(threshold=0.2, value=0.0)\n)",
    ),
    "a residual block": (
        [("Tanh", ["x"], "a", {}), ("Sigmoid", ["a"], "c", {}), ("Add", ["a", "c"], "y", {})],
        "Sequential(\n  (0): Tanh()\n  (1): Residual(\n    (0): Sigmoid()\n  )\n)",
    ),
}
CONSTANTS = {"w": W, "b": B, "zero": F32(0), "half": F32(0.25), "other": draw((5,), F32), "whole": numpy.int64([5, 1])}


@pytest.mark.parametrize("name", READ)
def test_a_graph_of_known_layers_becomes_a_network(name, tmp_path):
    nodes, expected = READ[name]
    graph(nodes, CONSTANTS, tmp_path / "other.onnx")
    model = fastbp.from_onnx(tmp_path / "other.onnx")
    assert repr(model) == expected
    assert_near(model.predict(ROWS), run(tmp_path / "other.onnx", ROWS), F32)


REFUSED = {
    "knows no layer for Sin()": [("Sin", ["x"], "y", {})],
    "knows no layer for Gemm(alpha=2.0)": [("Gemm", ["x", "w"], "y", {"alpha": 2.0})],
    "knows no layer for Add()": [("Add", ["x", "other"], "y", {})],
    "knows no layer for Sub()": [("Sub", ["other", "x"], "y", {})],
    "knows no layer for Mul()": [("Tanh", ["x"], "a", {}), ("Mul", ["x", "a"], "y", {})],
    "knows no layer for HardSigmoid(alpha=0.3": [("HardSigmoid", ["x"], "y", {"alpha": 0.3})],
    "knows no layer for Flatten(axis=0)": [("Flatten", ["x"], "y", {"axis": 0})],
    "takes a sum of two values as a residual block": [
        ("Tanh", ["x"], "a", {}), ("Relu", ["x"], "c", {}), ("Add", ["a", "c"], "y", {}),
    ],
    "takes parameters of float32 or float64": [("MatMul", ["x", "whole"], "y", {})],
    "whose output depends on its input": [("Tanh", ["x"], "a", {}), ("Identity", ["b"], "y", {})],
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_a_graph_that_is_no_chain_of_layers_says_why(text, tmp_path):
    graph(REFUSED[text], CONSTANTS, tmp_path / "other.onnx")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
        fastbp.from_onnx(tmp_path / "other.onnx")
    assert text in str(caught.value)


def test_a_second_output_is_refused(tmp_path):
    graph([("Tanh", ["x"], "y", {}), ("Relu", ["x"], "z", {})], {}, tmp_path / "other.onnx", outputs=("y", "z"))
    with pytest.raises(ValueError, match="one input and one output, got 1 and 2"):
        fastbp.from_onnx(tmp_path / "other.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 100])
def test_a_file_that_is_no_model_is_refused(content, tmp_path):
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="is no model of ONNX"):
        fastbp.from_onnx(tmp_path / "other.onnx")


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    fastbp.to_onnx(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)), tmp_path / "model.onnx")
    whole = (tmp_path / "model.onnx").read_bytes()
    for size in range(0, len(whole), 37):
        (tmp_path / "part.onnx").write_bytes(whole[:size])
        with pytest.raises(ValueError):  # noqa: PT011 - of several texts
            fastbp.from_onnx(tmp_path / "part.onnx")


def test_a_damaged_file_is_read_or_refused(tmp_path):
    parts = [nn.Linear(5, 4, rng=0), nn.Softplus(2.0, 3.0), nn.Residual(nn.PReLU(4)), nn.BatchNorm1d(4)]
    fastbp.to_onnx(nn.Sequential(*parts), tmp_path / "model.onnx")
    whole, rng = (tmp_path / "model.onnx").read_bytes(), numpy.random.default_rng(0)
    for _ in range(1000):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        try:
            fastbp.from_onnx(tmp_path / "damaged.onnx")
        except ValueError:
            continue


def test_parameters_in_a_file_beside_it_are_read(tmp_path):
    model = nn.Sequential(nn.Linear(5, 300, rng=0), nn.Tanh())
    fastbp.to_onnx(model, tmp_path / "model.onnx")
    whole = onnx.load(tmp_path / "model.onnx")
    onnx.save(whole, tmp_path / "other.onnx", save_as_external_data=True, location="other.data", size_threshold=0)
    assert (tmp_path / "other.data").exists()
    numpy.testing.assert_array_equal(fastbp.from_onnx(tmp_path / "other.onnx").predict(ROWS), model.predict(ROWS))


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastbp.from_onnx(tmp_path / "none.onnx")


def test_a_network_that_came_is_trained_and_leaves_again(tmp_path):
    nodes = [("Gemm", ["x", "w", "b"], "a", {}), ("Tanh", ["a"], "y", {})]
    graph(nodes, CONSTANTS, tmp_path / "other.onnx")
    model = fastbp.from_onnx(tmp_path / "other.onnx")
    opt, target = fastbp.optim.SGD(model.parameters(), lr=0.1), numpy.zeros((7, 4), F32)
    history = fastbp.train_model(model, ROWS, target, None, None, nn.MSELoss(), opt, epochs=3, mini_batch_size=7)
    assert history.backend == "engine"
    fastbp.to_onnx(model, tmp_path / "again.onnx")
    assert_near(predicted_by_runtime(tmp_path / "again.onnx", ROWS), model.predict(ROWS), F32)
