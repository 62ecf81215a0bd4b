"""Each measured piece of work does what it is measured for, on small vectors of true names."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.arithmetic_bake import unet_config
from benchmarks.arithmetic_client import WORKS, command_line, compose
from benchmarks.arithmetic_inputs import Inputs, table_lines, write_inputs
from benchmarks.dense_deltas import Weights, excess_errors, intended, relative_errors
from benchmarks.subprocesses import ours
from benchmarks.synthetic import BASE_WEIGHTS, write_base
from formats import architecture, architecture_of_folder

ROOT = Path(__file__).parents[2]

Terms = list[tuple[float, Weights]]


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return write_inputs(tmp_path, architecture("sd15"), tiny=True)


def terms_of(inputs: Inputs) -> Terms:
    return [(weight, Weights(path)) for weight, path in zip(inputs.weights, inputs.paths, strict=True)]


def options(*arguments: object) -> Namespace:
    return command_line().parse_args([str(argument) for argument in arguments])


def test_a_sum_is_exact_timed_and_weighed(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = tmp_path / "result.safetensors"
    run = ours("compose", *inputs.ours(), "--out", result)
    errors = relative_errors(terms_of(inputs), {"ours": Weights(result)}, list(inputs.modules))
    assert errors["ours"] < 1e-6
    assert 0 < run["seconds"] < 60
    assert 0 < run["before_mib"] < run["peak_mib"]


def test_a_recompressed_sum_has_the_rank_and_is_the_best_of_it(inputs: Inputs, tmp_path: Path) -> None:
    result = tmp_path / "result.safetensors"
    compose(options("compose", *inputs.ours(), "--rank", 4, "--out", result))
    modules = [module for module in inputs.modules if ".attn1." in module]
    assert Weights(result).largest_rank(modules) == 4
    assert excess_errors(terms_of(inputs), {"ours": Weights(result)}, modules, 4)["ours"]["excess"] < 1e-4


def test_a_baked_base_is_the_base_and_the_sum(tmp_path: Path) -> None:
    base, result = write_base(tmp_path / "base", unet_config(tiny=True)), tmp_path / "result"
    inputs = write_inputs(tmp_path, architecture_of_folder(base, "sdxl"), tiny=True)
    WORKS["bake"](options("bake", *inputs.arguments(), "--base", base, "--dtype", "fp16", "--out", result))
    before, after = (load_file(folder / "unet" / BASE_WEIGHTS) for folder in (base, result))
    for module in inputs.modules:
        key, delta = f"{module.removeprefix('unet.')}.weight", intended(terms_of(inputs), module)
        wanted = before[key].astype(np.float64) + delta.reshape(before[key].shape)
        np.testing.assert_allclose(after[key].astype(np.float64), wanted, rtol=1e-3, atol=1e-6)


def test_two_draws_hardly_interfere(inputs: Inputs) -> None:
    assert abs(WORKS["interfere"](options("interfere", *inputs.ours()))["cosine"]) < 0.05


def test_the_headers_of_two_draws_forbid_nothing(inputs: Inputs) -> None:
    recipe = " + ".join(f'"{path}"' for path in inputs.paths)
    assert WORKS["judge-headers"](options("judge-headers", "--recipe", recipe))["ok"]


def test_a_missed_target_is_bold_and_one_that_is_none_is_not_judged() -> None:
    lines = table_lines([("a", "1 s", "2 s", True), ("b", "3 s", "2 s", False), ("c", "4 s", "", None)]).splitlines()
    assert lines[2:] == ["| a | 1 s | 2 s | met |", "| b | **3 s** | 2 s | **not met** |", "| c | 4 s |  |  |"]
