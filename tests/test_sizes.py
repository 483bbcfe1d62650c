"""Files and functions stay of a size that can be read in one go; what is larger is listed here, with the reason."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("fastbp", "kernels", "bench", "tests")
FILE_LINES, CODE_LINES, ARGUMENTS = 350, 60, 10  # the lines of a function without its docstring

# What users call by keywords, as PyTorch or scikit-learn has it, or one call for a whole training.
PUBLIC = {
    "fastbp/optim/lr_scheduler/cyclic.py: CyclicLR.__init__",
    "fastbp/optim/lr_scheduler/one_cycle.py: OneCycleLR.__init__",
    "fastbp/sklearn/classifier.py: MLPClassifier.__init__",
    "fastbp/sklearn/regressor.py: MLPRegressor.__init__",
    "fastbp/training/train_model.py: train_model",
}
# They hand on arrays, pointers and sizes one by one, for each mini-batch, chunk of rows or panel.
KERNELS = {
    "kernels/fastbp_kernels/layers/dropout.py: dropout_rows",
    "kernels/fastbp_kernels/functions/losses/row_losses.py: row_losses",
    "kernels/fastbp_kernels/layers/batch_norm.py: batch_norm",
    "kernels/fastbp_kernels/layers/batch_norm.py: batch_norm_backward_rows",
    "kernels/fastbp_kernels/layers/layer_norm.py: layer_norm_backward_rows",
    "kernels/fastbp_kernels/layers/layer_norm.py: layer_norm_rows",
    "kernels/fastbp_kernels/layers/prelu.py: prelu_rows",
    "kernels/fastbp_kernels/layers/rms_norm.py: rms_norm_backward_rows",
    "kernels/fastbp_kernels/layers/rms_norm.py: rms_norm_rows",
    "kernels/fastbp_kernels/linalg/packed_product.py: packed_product",
    "kernels/fastbp_kernels/linalg/product.py: product",
    "kernels/fastbp_kernels/linalg/product.py: product_in_place",
    "kernels/fastbp_kernels/linalg/product.py: transposed_product",
    "kernels/fastbp_kernels/linalg/sparse.py: add_sparse_weight_gradient",
    "kernels/fastbp_kernels/linalg/sparse.py: sparse_forward",
    "kernels/fastbp_kernels/linalg/tile.py: tile",
    "kernels/fastbp_kernels/network/chain.py: chain_backward",
    "kernels/fastbp_kernels/network/gradients.py: block_gradients",
    "kernels/fastbp_kernels/network/layer_by_layer.py: backward_layer_by_layer",
    "kernels/fastbp_kernels/network/layer_by_layer.py: forward_layer_by_layer",
    "kernels/fastbp_kernels/network/passes.py: _weight_product",
    "kernels/fastbp_kernels/network/passes.py: forward_layer",
    "kernels/fastbp_kernels/network/passes.py: fused_sgd_gradients",
    "kernels/fastbp_kernels/network/passes.py: loss_rows",
    "kernels/fastbp_kernels/network/train.py: _chunk_gradients",
}
# They call the kernels above.
CALLERS = {
    "tests/products.py: in_place",
    "tests/products.py: multiply",
    "tests/products.py: packed",
    "tests/products.py: whole",
    "tests/test_product.py: call_transposed",
}
LONG_FILES = {"kernels/fastbp_kernels/linalg/tile.py"}  # a drawing of the tile, and its intrinsics beside it


@cache
def sources():
    """Each file with its text."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


@cache
def all_functions():
    """Each function of the project with its name behind its file's."""
    return [
        (f"{file}: {name}", function) for file, source in sources() for name, function in functions(ast.parse(source))
    ]


def functions(tree, around=""):
    """Yield each function of a module with its name, "Class.method" for a method."""
    for node in ast.iter_child_nodes(tree):
        inner = f"{around}{node.name}." if isinstance(node, ast.ClassDef) else around
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{around}{node.name}", node
        yield from functions(node, inner)


def code_lines(function):
    """The lines of a function without its docstring and its decorators."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def arguments(function):
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def too_large(lines_of, limit):
    return {name for name, function in all_functions() if lines_of(function) > limit}


def test_no_file_is_longer_than_350_lines():
    assert {file for file, source in sources() if source.count("\n") > FILE_LINES} == LONG_FILES


def test_no_function_has_more_than_60_lines_of_code():
    """``train_model`` hands on one thing after the other, each argument once."""
    assert too_large(code_lines, CODE_LINES) <= {"fastbp/training/train_model.py: train_model"}


def test_no_function_takes_more_than_ten_arguments():
    assert too_large(arguments, ARGUMENTS) == PUBLIC | KERNELS | CALLERS


def test_a_functions_docstring_and_its_self_do_not_count():
    source = 'class A:\n    def f(self, a, *, b):\n        """One.\n\n        Two.\n        """\n        return a\n'
    ((name, function),) = functions(ast.parse(source))
    assert (name, code_lines(function), arguments(function)) == ("A.f", 2, 2)
