"""Every kind against what lycoris-lora itself makes of it (golden/make_lycoris.py says which version)."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from arithmetic import Vector, anchored_delta, open_vector
from formats import Architecture, ModuleSpec

GOLDEN = Path(__file__).parents[1] / "golden" / "lycoris.safetensors"
STEM = "lora_unet_mid_block_attentions_0_proj_in"
MODULE = "unet.mid_block.attentions.0.proj_in"
IN_FLOAT32 = ("oft", "rslora")
"""LyCORIS inverts the matrices of its rotations, and keeps an alpha times a root, in float32, whatever it is given."""


@cache
def golden() -> tuple[dict[str, dict[str, Tensor]], dict[str, list]]:
    """Case -> its tensors, and case -> its layer."""
    with safe_open(GOLDEN, framework="pt") as file:
        specs = json.loads(file.metadata()["specs"])
        found: dict[str, dict[str, Tensor]] = {name: {} for name in specs}
        for key in file.keys():  # noqa: SIM118
            name, _, rest = key.partition("/")
            found[name][rest] = file.get_tensor(key)
    return found, specs


CASES = sorted(golden()[0])


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Vector]:
    """opened(case) -> its pieces in a kohya file, as a vector of a base of that one layer."""

    def make(name: str) -> Vector:
        tensors, specs = golden()
        pieces = {f"{STEM}.{key.removeprefix('piece/')}": t for key, t in tensors[name].items() if "piece/" in key}
        save_file(pieces, tmp_path / name)
        kind, out, inside, *kernel = specs[name]
        table = Architecture("one", {MODULE: ModuleSpec(kind, (out, inside, *kernel, *kernel))})
        return open_vector(tmp_path / name, table)

    return make


def change(vector: Vector, base: Tensor, strength: float) -> Tensor:
    if MODULE in vector.anchored:
        return anchored_delta(vector, MODULE, base, strength, "lycoris").dense()
    return strength * vector.delta(MODULE).dense()


@pytest.mark.parametrize("name", [name for name in CASES if name != "norm"])
def test_the_change_of_a_weight_is_lycoris_own(name: str, opened: Callable[[str], Vector]) -> None:
    tensors, vector = golden()[0][name], opened(name)
    assert vector.unmatched == ()
    assert vector.misfits == ()
    tolerance = 2e-6 if any(part in name for part in IN_FLOAT32) else 1e-12
    for key, expected in tensors.items():
        if key.startswith("change/"):
            found = change(vector, tensors["base"], float(key.removeprefix("change/")))
            expected = expected.flatten(1).double()
            assert (found - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("full")])
def test_the_change_of_a_bias_is_lycoris_own(name: str, opened: Callable[[str], Vector]) -> None:
    vector = opened(name)
    torch.testing.assert_close(0.7 * vector.delta(f"{MODULE}.bias").dense()[:, 0], golden()[0][name]["bias"])


def test_the_change_of_a_normalisation_is_lycoris_own(tmp_path: Path) -> None:
    tensors = golden()[0]["norm"]
    stem = "lora_unet_mid_block_attentions_0_norm"
    save_file({f"{stem}.{end}": tensors[f"piece/{end}"] for end in ("w_norm", "b_norm")}, tmp_path / "norm")
    vector = open_vector(tmp_path / "norm", Architecture("one", {MODULE: ModuleSpec("linear", (12, 12))}))
    norm = MODULE.removesuffix("proj_in") + "norm"
    assert list(vector.modules) == [f"{norm}.bias", f"{norm}.weight"]
    torch.testing.assert_close(0.7 * vector.delta(f"{norm}.weight").dense()[:, 0], tensors["change/0.7"])
    torch.testing.assert_close(0.7 * vector.delta(f"{norm}.bias").dense()[:, 0], tensors["bias"])


def test_lycoris_4_1_exports_a_loha_with_its_scale_twice(opened: Callable[[str], Vector]) -> None:
    """get_diff_weight multiplies what get_weight has scaled already; forward does not, and neither do we."""
    vector = opened("loha-linear")
    scale = vector.modules[MODULE].scale
    assert scale == 1.5
    torch.testing.assert_close(scale * vector.delta(MODULE).dense(), golden()[0]["loha-linear"]["exported"])
