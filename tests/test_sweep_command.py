"""``python -m fastbp sweep``: files that are right, wrong, and left behind by a kill."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy
import pyarrow
import pytest
from helpers import child_environment, draw
from pyarrow import parquet

import fastbp
from fastbp.commands import sweep as command
from fastbp.commands.sweep_file import SweepFileError

FILE = """
[data]
file = "table.csv"
target = ["y"]
[model]
hidden = [[4], [8, 3]]
[training]
lr = [0.001, 0.01]
epochs = 3
seeds = [0, 1]
"""


@pytest.fixture
def folder(tmp_path):
    rows = draw((40, 3), numpy.float64)
    lines = ["a,b,y", *(",".join(map(repr, row)) for row in rows.tolist())]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "sweep.toml").write_text(FILE)
    return tmp_path


def entries(folder):
    path = folder / "results" / "results.jsonl"
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    return {json.dumps(entry["setting"]): entry["val_loss"] for entry in map(json.loads, lines)}


def best_bits(folder):
    model = fastbp.load(folder / "results" / "best.safetensors").model
    return repr(model), [(name, value.tobytes()) for name, value in model.state_dict().items()]


def begin(folder, *options):
    line = [sys.executable, "-m", "fastbp", "sweep", "sweep.toml", *options]
    return subprocess.Popen(line, cwd=folder, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_sweep_prints_a_table_and_leaves_the_best_model(folder):
    sweep = begin(folder)
    output, errors = sweep.communicate()
    assert sweep.returncode == 0, errors
    rows = output.decode().splitlines()
    assert rows[0].split() == ["val", "loss", "hidden", "lr", "seed"]
    losses = [float(row.split()[0]) for row in rows[1:9]]
    assert losses == sorted(losses)
    assert f"{min(entries(folder).values()):.6g}" == rows[1].split()[0]
    assert rows[9].startswith(f"best model: results/best.safetensors of val loss {losses[0]:.6g}, hidden = [")
    assert fastbp.load(folder / "results" / "best.safetensors").model.predict(numpy.ones((1, 2), "f")).shape == (1, 1)


def test_a_sweep_whose_process_is_killed_goes_on_to_the_same_table_and_best_model(folder, capsys):
    path = folder / "sweep.toml"
    path.write_text(FILE.replace("seeds = [0, 1]", f"seeds = {list(range(20))}").replace("epochs = 3", "epochs = 50"))
    sweep = begin(folder, "--chunk-size", "1")
    while not entries(folder) and sweep.poll() is None:
        time.sleep(0.005)
    sweep.kill()
    errors = sweep.communicate()[1]
    assert sweep.returncode == -signal.SIGKILL, errors
    kept = entries(folder)
    assert 0 < len(kept) < 80
    command.run_sweep(path)
    found = capsys.readouterr().out, entries(folder), best_bits(folder)
    assert kept.items() <= found[1].items()
    shutil.rmtree(folder / "results")
    command.run_sweep(path)
    assert found == (capsys.readouterr().out, entries(folder), best_bits(folder))


def test_ctrl_c_tells_that_the_same_command_goes_on(folder):
    (folder / "sweep.toml").write_text(FILE.replace("epochs = 3", "epochs = 1000000"))
    sweep = begin(folder)
    while not (folder / "results").exists() and sweep.poll() is None:
        time.sleep(0.005)
    time.sleep(0.2)
    sweep.send_signal(signal.SIGINT)
    assert sweep.communicate()[1].decode() == "interrupted; the same command goes on from here\n"
    assert sweep.returncode == 130


def test_a_setting_that_cannot_be_trained_is_a_line_of_its_own(folder, capsys):
    (folder / "sweep.toml").write_text(FILE.replace("epochs = 3", 'epochs = 3\nloss = ["MSELoss", "BCELoss"]'))
    command.run_sweep(folder / "sweep.toml")
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("failed")]
    assert len(failed) == 8
    assert all("BCELoss" in line and "train_target from 0 to 1, got" in line for line in failed)
    assert sum("MSELoss" in line for line in lines) >= 8
    assert best_bits(folder)


def trained_again(folder, monkeypatch):
    """Sweep once more and return how many settings are trained."""
    trained, build = [], command.build_job
    monkeypatch.setattr(command, "build_job", lambda setting, *data: trained.append(setting) or build(setting, *data))
    command.run_sweep(folder / "sweep.toml", chunk_size=3)
    return len(trained)


def test_only_what_has_no_result_is_trained(folder, monkeypatch):
    command.run_sweep(folder / "sweep.toml", chunk_size=3)
    whole, best, path = entries(folder), best_bits(folder), folder / "results" / "results.jsonl"
    kept = path.read_text().splitlines(keepends=True)
    path.write_text("".join(kept[:4]) + kept[4][:20])
    assert trained_again(folder, monkeypatch) == 5
    assert entries(folder) == whole
    assert best_bits(folder) == best


def test_a_best_model_that_is_gone_is_trained_again(folder, monkeypatch):
    command.run_sweep(folder / "sweep.toml")
    whole, best = entries(folder), best_bits(folder)
    (folder / "results" / "best.safetensors").unlink()
    assert trained_again(folder, monkeypatch) == 1
    assert entries(folder) == whole
    assert best_bits(folder) == best


def test_other_data_are_not_mixed_with_earlier_results(folder):
    command.run_sweep(folder / "sweep.toml")
    (folder / "sweep.toml").write_text(FILE.replace("[model]", "seed = 3\n[model]"))
    with pytest.raises(SweepFileError, match="is of other data"):
        command.run_sweep(folder / "sweep.toml")


def test_arrays_and_classes_come_from_npy(folder, capsys):
    numpy.save(folder / "x.npy", draw((30, 4), numpy.float32))
    numpy.save(folder / "y.npy", numpy.arange(30) % 3)
    text = '[data]\ninput = "x.npy"\ntarget = "y.npy"\n[training]\nloss = "CrossEntropyLoss"\nepochs = 2\n'
    (folder / "sweep.toml").write_text(text)
    command.run_sweep(folder / "sweep.toml")
    assert len(entries(folder)) == 1


def test_a_setting_whose_model_cannot_be_built_fails_alone(folder, monkeypatch, capsys):
    whole = command.build_job

    def build_job(setting, *data):
        if setting["lr"] == 0.001:
            raise ValueError("no such model")
        return whole(setting, *data)

    monkeypatch.setattr(command, "build_job", build_job)
    command.run_sweep(folder / "sweep.toml")
    assert [value is None for value in entries(folder).values()] == [True, True, False, False] * 2
    assert capsys.readouterr().out.count("ValueError: no such model") == 4


def to_parquet(folder, table):
    parquet.write_table(pyarrow.table(table), folder / "table.parquet")
    (folder / "sweep.toml").write_text(FILE.replace("table.csv", "table.parquet"))


def test_parquet_has_the_results_of_the_same_csv(folder):
    command.run_sweep(folder / "sweep.toml")
    expected = entries(folder)
    rows = draw((40, 3), numpy.float64)
    to_parquet(folder, dict(zip("aby", rows.T)))
    shutil.rmtree(folder / "results")
    command.run_sweep(folder / "sweep.toml")
    assert entries(folder) == expected


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["x", "y", "z"], r"table\.parquet: column 'b' takes numbers, got string"),
        ([1.0, None, 2.0], r"column 'b' takes a number in each row, got 1 empty"),
        ([1.0, numpy.nan, 2.0], r"column 'b' takes finite numbers, got nan in row 2"),
    ],
)
def test_columns_of_parquet_that_are_no_numbers_are_named(folder, column, message):
    to_parquet(folder, {"a": [1, 2, 3], "b": column, "y": [True, False, True]})
    with pytest.raises(SweepFileError, match=message):
        command.run_sweep(folder / "sweep.toml")


def test_a_file_that_is_no_parquet_and_a_missing_library_are_told(folder, monkeypatch):
    to_parquet(folder, {"y": [1]})
    (folder / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(SweepFileError, match=r"table\.parquet cannot be read: "):
        command.run_sweep(folder / "sweep.toml")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'a sweep over Parquet needs pyarrow: pip install "fastbp\[parquet\]"'):
        command.run_sweep(folder / "sweep.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr = [", "lr = [-1, ", r"sweep\.toml, line 8: lr takes a number of 0 or more, or a list of these, got -1"),
        ("epochs = 3", "epoch = 3", r"line 9: \[training\] takes loss, .*, got 'epoch'"),
        ("epochs = 3", "epochs = true", "line 9: epochs takes an int of 1 or more.*got True"),
        ("[model]", "[modle]", r"line 5: a sweep takes the sections data, model, training, output, got 'modle'"),
        ("epochs = 3", "epochs = ", r"line 9"),
        ("[8, 3]", "[8, 0]", r"line 6: hidden takes a list of widths"),
        ("seeds = [0, 1]", "seeds = []", r"line 10: seeds takes one value or more"),
        ("epochs = 3", 'optimizer = "Sdg"', r"line 9: optimizer takes an optimiser of .*, Adam, .*'Sdg'"),
        ('file = "table.csv"', "", r"line 2: \[data\] takes file and target, or input and target, got target"),
        ("[training]", 'activation = "Elementwise"\n[training]', "line 7: activation takes an activation of CELU, "),
        ('["y"]', '["a", "b", "y"]', r"target leaves table\.csv no column as input"),
        ("epochs = 3", 'loss = "CrossEntropyLoss"', r"takes one target from 0, 1, 2, \.\.\. a sample, got -?\d\."),
        ('["y"]', '["z"]', r"target takes columns of table\.csv, a, b, y, got 'z'"),
        ("table.csv", "none.csv", r"file cannot be read: .*none\.csv"),
        ("table.csv", "sweep.toml", r"file takes a \.csv or \.parquet file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_by_line_and_key(folder, old, new, message):
    (folder / "sweep.toml").write_text(FILE.replace(old, new))
    with pytest.raises(SweepFileError, match=message):
        command.run_sweep(folder / "sweep.toml")
    assert not (folder / "results" / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("input", "target", "message"),
    [
        (numpy.ones((4, 2)), numpy.arange(3), "one row a sample each, got 4 and 3"),
        (numpy.ones((0, 2)), numpy.ones(0), r"input takes one row or more, got x\.npy of shape \(0, 2\)"),
        (numpy.full((4, 2), numpy.nan), numpy.arange(4), "input takes finite numbers, got x.npy with NaN or infinity"),
        (numpy.ones((4, 2)), numpy.ones((4, 2)), r"a sample, got 2 numbers a sample"),
        (numpy.ones((4, 2)), -numpy.arange(4), r"0, 1, 2, \.\.\. a sample, got -1"),
        (numpy.ones((4, 2), "U1"), numpy.arange(4), r"input takes an array of numbers, got x\.npy"),
    ],
)
def test_arrays_that_do_not_fit_are_told(folder, input, target, message):
    numpy.save(folder / "x.npy", input)
    numpy.save(folder / "y.npy", target)
    text = '[data]\ninput = "x.npy"\ntarget = "y.npy"\n[training]\nloss = "CrossEntropyLoss"\nepochs = 2\n'
    (folder / "sweep.toml").write_text(text)
    with pytest.raises(SweepFileError, match=message):
        command.run_sweep(folder / "sweep.toml")


def test_tables_of_excel_are_read_and_files_that_are_no_text_are_told(folder):
    table = folder / "table.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"a,b,y", b"y,b,a"))
    command.run_sweep(folder / "sweep.toml")
    table.write_bytes(b"\xff\xfe1,2")
    with pytest.raises(SweepFileError, match=r"sweep\.toml: file cannot be read: .*decode"):
        command.run_sweep(folder / "sweep.toml")
    (folder / "sweep.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SweepFileError, match=r"sweep\.toml: .*decode"):
        command.run_sweep(folder / "sweep.toml")


def test_two_columns_of_one_name_are_refused(folder):
    (folder / "table.csv").write_text("a,a,y\n1,2,3\n")
    with pytest.raises(SweepFileError, match=r"line 1: columns take names of their own, got 'a' twice"):
        command.run_sweep(folder / "sweep.toml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2", r"table\.csv, line 4: 3 columns begin the file, got 2"),
        ("1,x,3", r"line 4: column 'b' takes .*'x'"),
        ("1,,3", r"line 4: column 'b' takes numbers, got ''"),
        ("1,2,inf", r"table\.csv: column 'y' takes finite numbers, got inf in row 3"),
    ],
)
def test_bad_lines_of_a_table_are_named(folder, line, message):
    (folder / "table.csv").write_text(f"a,b,y\n1,2,3\n4,5,6\n{line}\n")
    with pytest.raises(SweepFileError, match=message):
        command.run_sweep(folder / "sweep.toml")


def test_the_command_ends_with_the_error_alone(folder):
    (folder / "sweep.toml").write_text(FILE.replace("epochs = 3", "epochs = 0"))
    sweep = begin(folder)
    assert sweep.communicate()[1].decode().startswith("sweep.toml, line 9: epochs takes")
    assert sweep.returncode == 2
