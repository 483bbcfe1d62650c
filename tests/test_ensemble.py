"""Models that predict together, and in one file."""

import numpy
import pytest
from helpers import draw
from same_bits import ORIGINAL, SMOOTH, Network

import fastbp
from fastbp import ensemble as module
from fastbp import nn


def members(dtype, count=5, network=SMOOTH):
    return [network.build(dtype, seed) for seed in range(count)]


@pytest.mark.parametrize("many_threads", [1, 2, 3])
def test_members_are_the_bits_of_each_model_alone(many_threads, dtype, monkeypatch):
    monkeypatch.setattr(module, "FLOP_PER_START", 1.0)
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(many_threads)
    models, input = [*members(dtype), Network((4, 7, 4), ("ReLU", None)).build(dtype)], draw((33, 4), dtype)
    try:
        found = fastbp.Ensemble(models).predict_members(input)
    finally:
        fastbp.set_num_threads(before)
    assert found.dtype == dtype
    numpy.testing.assert_array_equal(found, [model.predict(input) for model in models])


def test_mean_deviation_and_quantiles_are_numpys_over_the_members(dtype):
    ensemble, input = fastbp.Ensemble(members(dtype)), draw((33, 4), dtype)
    wide = ensemble.predict_members(input).astype(numpy.float64)
    close = {"rtol": 1e-6} if dtype == numpy.float32 else {"rtol": 1e-13}
    mean, deviation = ensemble.predict_std(input)
    numpy.testing.assert_array_equal(mean, ensemble.predict(input))
    numpy.testing.assert_allclose(mean, wide.mean(axis=0), **close)
    numpy.testing.assert_allclose(deviation, wide.std(axis=0), **close)
    quantiles = ensemble.predict_quantiles(input, (0.1, 0.5, 0.9))
    assert quantiles.shape == (3, 33, 4)
    assert {mean.dtype, deviation.dtype, quantiles.dtype} == {numpy.dtype(dtype)}
    numpy.testing.assert_allclose(quantiles[1], numpy.median(wide, axis=0), **close)
    numpy.testing.assert_array_equal(ensemble.predict_quantiles(input, 0.9), quantiles[2])


def test_an_ensemble_comes_back_from_its_file(tmp_path, dtype):
    models = [*members(dtype, 3), nn.Sequential(nn.Linear(4, 4, dtype=dtype), nn.Dropout(0.3, rng=4))]
    models[3].eval()
    input = draw((9, 4), dtype)
    fastbp.Ensemble(models).save(tmp_path / "e.safetensors")
    back = fastbp.Ensemble.load(tmp_path / "e.safetensors")
    back.models[3].eval()
    assert len(back) == 4
    numpy.testing.assert_array_equal(back.predict_members(input), fastbp.Ensemble(models).predict_members(input))


def test_a_damaged_file_or_another_one_is_refused(tmp_path):
    path = tmp_path / "e.safetensors"
    fastbp.Ensemble(members(numpy.float32)).save(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(fastbp.CheckpointError, match="checksum"):
        fastbp.Ensemble.load(path)
    fastbp.save(path, members(numpy.float32, 1)[0])
    with pytest.raises(fastbp.CheckpointError, match="holds no models of an Ensemble"):
        fastbp.Ensemble.load(path)


class Own(nn.Sequential):
    def forward(self, input):
        return 2 * super().forward(input)


def test_models_of_the_users_predict_but_do_not_fit_a_file(tmp_path):
    ensemble, input = fastbp.Ensemble([Own(nn.Linear(4, 2)), Own(nn.Linear(4, 2))]), draw((5, 4), numpy.float32)
    numpy.testing.assert_array_equal(
        ensemble.predict_members(input), [model.predict(input) for model in ensemble.models]
    )
    with pytest.raises(TypeError, match="got a Own with modules or methods of its user's as model 0"):
        ensemble.save(tmp_path / "e.safetensors")


def test_what_is_no_ensemble_is_refused():
    with pytest.raises(ValueError, match="one model or more, got none"):
        fastbp.Ensemble([])
    with pytest.raises(TypeError, match="got int as model 1"):
        fastbp.Ensemble([nn.Linear(2, 2), 3])
    ensemble = fastbp.Ensemble([nn.Linear(2, 2), nn.Linear(2, 3)])
    input = draw((5, 2), numpy.float32)
    with pytest.raises(ValueError, match=r"outputs of one shape, got \[\(5, 2\), \(5, 3\)\]"):
        ensemble.predict(input)
    with pytest.raises(TypeError, match=r"several Modules, got Linear\(in_features=2"):
        fastbp.Ensemble(nn.Linear(2, 2))
    for quantiles in (1.5, -0.1, numpy.nan, "half", [[0.5]], None):
        with pytest.raises(ValueError, match=r"quantiles from 0 to 1, a number or several, got"):
            fastbp.Ensemble([nn.Linear(2, 2)]).predict_quantiles(input, quantiles)


def test_an_error_of_a_member_comes_from_any_thread(monkeypatch):
    monkeypatch.setattr(module, "FLOP_PER_START", 1.0)
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match=r"Linear\(2, 25\)"):
            fastbp.Ensemble(members(numpy.float32, 3, ORIGINAL)).predict(draw((500, 3), numpy.float32))
    finally:
        fastbp.set_num_threads(before)
