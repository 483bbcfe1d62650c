"""Names of classes in the data of ``python -m fastbp sweep``."""

import shutil

import numpy
import pyarrow
import pytest
from helpers import draw
from pyarrow import parquet
from test_sweep_command import entries

from fastbp.commands import sweep as command
from fastbp.commands.sweep_file import SweepFileError

CLASSES = """
[data]
file = "table.csv"
target = "kind"
[training]
loss = "CrossEntropyLoss"
epochs = 2
"""
NAMES = ["setosa", "virginica", "setosa", "versicolor"] * 10


def table_of_classes(folder, names, suffix="csv"):
    rows = draw((40, 2), numpy.float64).tolist()
    lines = ["a,kind,b", *(f"{a!r},{name},{b!r}" for (a, b), name in zip(rows, names, strict=True))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    (folder / "sweep.toml").write_text(CLASSES.replace("csv", suffix))
    return [row[0] for row in rows], [row[1] for row in rows]


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "NLLLoss"])
def test_names_in_a_table_are_classes_numbered_as_they_sort(tmp_path, capsys, loss):
    table_of_classes(tmp_path, NAMES)
    (tmp_path / "sweep.toml").write_text(CLASSES.replace("CrossEntropyLoss", loss))
    command.run_sweep(tmp_path / "sweep.toml")
    assert "classes: 0 = setosa, 1 = versicolor, 2 = virginica\n" in capsys.readouterr().out
    by_name = list(entries(tmp_path).values())
    shutil.rmtree(tmp_path / "results")
    table_of_classes(tmp_path, [sorted(set(NAMES)).index(name) for name in NAMES])
    (tmp_path / "sweep.toml").write_text(CLASSES.replace("CrossEntropyLoss", loss))
    command.run_sweep(tmp_path / "sweep.toml")
    assert list(entries(tmp_path).values()) == by_name
    assert "classes" not in capsys.readouterr().out


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_names_in_parquet_and_npy_are_classes(tmp_path, capsys, is_dictionary):
    a, b = table_of_classes(tmp_path, NAMES, "parquet")
    kinds = pyarrow.array(NAMES)
    table = pyarrow.table({"a": a, "kind": kinds.dictionary_encode() if is_dictionary else kinds, "b": b})
    parquet.write_table(table, tmp_path / "table.parquet")
    command.run_sweep(tmp_path / "sweep.toml")
    by_parquet = list(entries(tmp_path).values())
    shutil.rmtree(tmp_path / "results")
    numpy.save(tmp_path / "x.npy", numpy.column_stack([a, b]))
    numpy.save(tmp_path / "y.npy", numpy.array(NAMES))
    arrays = CLASSES.replace('file = "table.csv"', 'input = "x.npy"').replace('"kind"', '"y.npy"')
    (tmp_path / "sweep.toml").write_text(arrays)
    command.run_sweep(tmp_path / "sweep.toml")
    assert list(entries(tmp_path).values()) == by_parquet
    assert capsys.readouterr().out.count("classes: 0 = setosa") == 2


@pytest.mark.parametrize(
    ("names", "text", "message"),
    [
        (["1", "2", "x", "1"], CLASSES, r"column 'kind' .*all of one kind, got '1' in row 1 and 'x' in row 3"),
        (["u", "", "x", "1"], CLASSES, r"takes the number or the name of a class in each row, got '' in row 2"),
        (["1", "2", "inf", "1"], CLASSES, r"column 'kind' takes finite numbers, got inf in row 3"),
        (["u", "v", "w", "u"], CLASSES.replace("CrossEntropyLoss", "MSELoss"), r"line 2: column 'kind' takes numbers"),
        (["u", "v", "w", "u"], CLASSES.replace('"kind"', '["kind", "b"]'), r"takes one target a sample, got \['u', "),
        (["u", "v", "w", "u"], CLASSES.replace('"kind"', '"b"'), r"line 2: column 'kind' takes numbers, got 'u'"),
    ],
)
def test_names_that_are_no_classes_are_told(tmp_path, names, text, message):
    table_of_classes(tmp_path, names * 10)
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(SweepFileError, match=message):
        command.run_sweep(tmp_path / "sweep.toml")
