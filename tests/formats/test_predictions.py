"""What a model predicts, where a file tells."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from formats import Layout, architecture, identify, read_header
from formats.predictions import LAST_NORM_BIAS, prediction_of_checkpoint


@pytest.mark.parametrize(
    ("metadata", "value"),
    [
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, "epsilon"),
        ({"ss_base_model_version": "sd_v2_v"}, "v_prediction"),
        ({"ss_base_model_version": "sd_v2"}, "epsilon"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512/lora"}, "epsilon"),
        ({"ss_v_parameterization": "True"}, "v_prediction"),
        ({"ss_v_parameterization": "True", "ss_base_model_version": "sd_v2"}, "unknown"),
        ({"ss_base_model_version": "sd_v1"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_an_sd21_vector_says_it_in_its_metadata_or_nowhere(metadata, value, write_stripped, adapter_shapes) -> None:
    table = architecture("sd21")
    modules = [module for module in table.modules if ".attn2." in module]
    path = write_stripped(adapter_shapes(table, modules, Layout.KOHYA), metadata=metadata)
    found = identify(path, hashes=False)
    assert (found.family.value, found.prediction_type.value) == ("sd21", value)
    assert all(key in " ".join(found.prediction_type.evidence) for key in metadata if value not in ("unknown",))


def test_families_of_one_prediction_say_so_with_less_confidence(write_stripped: Callable, adapter_shapes) -> None:
    answers = {}
    for name in ("sd15", "sdxl"):
        table = architecture(name)
        modules = [module for module in table.modules if ".attentions." in module]
        path = write_stripped(adapter_shapes(table, modules, Layout.KOHYA))
        answers[name] = identify(path, hashes=False).prediction_type
    assert {answer.value for answer in answers.values()} == {"epsilon"}
    assert answers["sdxl"].confidence < answers["sd15"].confidence < 0.9


@pytest.mark.parametrize(("spread", "value"), [(0.02, "epsilon"), (0.2, "v_prediction"), (np.nan, "unknown")])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_sd2_checkpoint_says_it_by_the_spread_of_one_bias(spread, value, dtype, tmp_path: Path) -> None:
    bias = np.random.default_rng(0).normal(0, spread, 320).astype(dtype)
    path = tmp_path / "bias.safetensors"
    safetensors.numpy.save_file({LAST_NORM_BIAS: bias, "other": np.zeros(3, np.float32)}, path)
    assert prediction_of_checkpoint("sd21", read_header(path)).value == value
    assert prediction_of_checkpoint("sd15", read_header(path)).value == "epsilon"


def test_a_bias_of_bfloat16_is_read_as_well(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(0, 0.2, 320).astype("<f4")
    halves = b"".join(number.tobytes()[2:] for number in numbers)
    entry = {"dtype": "BF16", "shape": [320], "data_offsets": [0, len(halves)]}
    text = json.dumps({LAST_NORM_BIAS: entry}).encode()
    path = tmp_path / "bias.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + halves)
    found = prediction_of_checkpoint("sd21", read_header(path))
    assert found.value == "v_prediction"
    assert f"{numbers.std(ddof=1):.3f}"[:4] in found.evidence[0]
