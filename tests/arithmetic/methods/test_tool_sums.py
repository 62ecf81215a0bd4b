"""What other tools write, tensor by tensor: PEFT itself, and the scripts that cannot be installed as numpy loops."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from arithmetic import DIALECTS, LowRank, MethodRefused
from arithmetic.methods import METHODS, dare, magnitude, ties
from arithmetic.methods.tool_sums import Arrangement, Part
from arithmetic.randomness import generator_for

WEIGHTS = [(1.0, 0.8, -0.3), (0.5, -1.2, 0.7), (-1.0, 0.0, 2.0)]
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
Stored = dict[str, np.ndarray | float]


class Summed:
    """What PEFT's add_weighted_adapter makes of some LoRAs of one linear layer."""

    def __init__(self, parts: Sequence[LowRank]) -> None:
        self.parts = parts
        rows, columns = parts[0].up.shape[0], parts[0].down.shape[1]
        self.layers = nn.ModuleDict({"layer": nn.Linear(columns, rows, bias=False)})
        self.model = None
        for i, part in enumerate(parts):
            config = LoraConfig(r=part.rank, lora_alpha=part.scale * part.rank, target_modules=["layer"])
            if self.model is None:
                self.model = get_peft_model(self.layers, config, adapter_name="v0")
            else:
                self.model.add_adapter(f"v{i}", config)
            self.layers["layer"].lora_A[f"v{i}"].weight.data.copy_(part.down)
            self.layers["layer"].lora_B[f"v{i}"].weight.data.copy_(part.up)

    def made(self, weights: Sequence[float], combination_type: str, **options: object) -> LowRank:
        names = [f"v{i}" for i in range(len(self.parts))]
        self.model.base_model.add_weighted_adapter(
            names, list(weights), "sum", combination_type=combination_type, **options
        )
        layer = self.layers["layer"]
        return LowRank(layer.lora_B["sum"].weight.data, layer.lora_A["sum"].weight.data, layer.scaling["sum"])


def written(name: str, weights: Sequence[float], parts: Sequence[LowRank], **options: object) -> LowRank:
    return METHODS[name].apply(list(zip(weights, parts, strict=True)), **options)


def assert_same_file(ours: LowRank, up: np.ndarray, down: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(ours.up.numpy(), up, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.down.numpy(), down, rtol=0, atol=1e-12)
    assert ours.scale == pytest.approx(scale, rel=1e-14)


def true_sum(weights: Sequence[float], parts: Sequence[LowRank]) -> Tensor:
    return sum(weight * part.dense() for weight, part in zip(weights, parts, strict=True))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_peft_writes_these_factors_for_a_linear_sum(factors: Callable, weights: tuple[float, ...]) -> None:
    parts = factors((4, 4, 4))
    theirs, ours = Summed(parts).made(weights, "linear"), written("peft-linear", weights, parts)
    assert torch.allclose(ours.up.float(), theirs.up, rtol=0, atol=1e-5)
    assert torch.allclose(ours.down.float(), theirs.down, rtol=0, atol=1e-5)
    assert ours.scale == theirs.scale == 1.0


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("ranks", [(4, 4, 4), (2, 5, 3)])
@pytest.mark.parametrize(("combination_type", "options"), [("cat", {}), ("svd", {"svd_rank": 12})])
def test_pefts_exact_sums_are_the_true_sum_at_any_ranks(
    factors: Callable, weights: tuple[float, ...], ranks: tuple[int, ...], combination_type: str, options: dict
) -> None:
    parts = factors(ranks)
    theirs = Summed(parts).made(weights, combination_type, **options).dense()
    truth = true_sum(weights, parts)
    assert torch.allclose(theirs, truth, rtol=0, atol=1e-5 * float(truth.norm()))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_pefts_merges_of_whole_matrices_are_ours_in_its_dialect(factors: Callable, weights: tuple[float, ...]) -> None:
    parts = factors((2, 5, 3), shape=(9, 13))
    deltas = [part.dense() for part in parts]
    for name, merge in (("ties_svd", ties), ("magnitude_prune_svd", magnitude)):
        theirs = Summed(parts).made(weights, name, svd_rank=9, density=0.4).dense()
        ours = merge(deltas, weights, density=0.4)
        assert torch.allclose(theirs, ours, rtol=0, atol=1e-5 * float(ours.norm()))


def test_pefts_dropping_of_whole_matrices_obeys_the_same_law(factors: Callable) -> None:
    """One adapter would be summed linearly; a second of weight 0 lets the first be dropped alone."""
    parts = factors((3, 3), shape=(9, 13))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = Summed(parts).made((0.7, 0.0), "dare_linear_svd", svd_rank=9, density=0.5).dense()
    ours = dare([part.dense() for part in parts], (0.7, 0.0), generator=generator_for(0, "m"), density=0.5)
    for made in (theirs, ours):
        kept = made.abs() > 1e-4
        assert torch.allclose(made[kept], (0.7 / 0.5) * parts[0].dense()[kept], rtol=1e-3, atol=1e-4)
        assert 0.3 < float(kept.double().mean()) < 0.7


def stored(parts: Sequence[LowRank]) -> list[Stored]:
    """Kohya files of one module."""
    return [
        {"up": part.up.double().numpy(), "down": part.down.double().numpy(), "alpha": part.scale * part.rank}
        for part in parts
    ]


def merge_lora(
    files: Sequence[Stored], ratios: Sequence[float], lbws: Sequence[float], *, concat: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """sdxl_merge_lora.py's loop over the keys of each file, for one module; alpha of the first file is kept."""
    merged: dict[str, np.ndarray] = {}
    for file, ratio, lbw in zip(files, ratios, lbws, strict=True):
        for key, axis in (("up", 1), ("down", 0)):
            factor = np.sqrt(file["alpha"] / files[0]["alpha"]) * ratio
            factor = (abs(factor) if key == "up" else factor) * lbw
            if key not in merged:
                merged[key] = file[key] * factor
            elif concat:
                merged[key] = np.concatenate([merged[key], file[key] * factor], axis=axis)
            else:
                merged[key] = merged[key] + file[key] * factor
    return merged["up"], merged["down"], files[0]["alpha"] / merged["down"].shape[0]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("blocks", [(1.0, 1.0, 1.0), (0.5, -0.8, 0.0)])
@pytest.mark.parametrize("shape", [(20, 30), (8, 4, 3, 3)])
@pytest.mark.parametrize("name", ["kohya-merge", "kohya-concat"])
def test_kohyas_script_writes_these_factors(
    factors: Callable, name: str, weights: tuple[float, ...], blocks: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    parts = factors((4, 4, 4), shape=shape)
    expected = merge_lora(stored(parts), weights, blocks, concat=name == "kohya-concat")
    assert_same_file(written(name, weights, parts, blocks=blocks), *expected)


def test_kohyas_concatenation_takes_unequal_ranks(factors: Callable) -> None:
    parts = factors((2, 5, 3))
    expected = merge_lora(stored(parts), WEIGHTS[0], (1.0, 1.0, 1.0), concat=True)
    assert_same_file(written("kohya-concat", WEIGHTS[0], parts), *expected)


def test_kohyas_block_weights_are_squared_and_lose_their_sign(factors: Callable) -> None:
    parts = factors((4,))
    made = written("kohya-merge", (1.0,), parts, blocks=(-0.5,)).dense()
    assert torch.allclose(made, 0.25 * parts[0].dense(), rtol=1e-12)


def merge_lora_models(files: Sequence[Stored], ratios: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
    """supermerger's same-rank path for one module, default settings."""
    factor = [np.sqrt(file["alpha"] / files[0]["alpha"]) * ratio for file, ratio in zip(files, ratios, strict=True)]
    up, down = (sum(f * file[key] for f, file in zip(factor, files, strict=True)) for key in ("up", "down"))
    return up, down, files[0]["alpha"] / down.shape[0]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_supermerger_writes_these_factors_for_loras_of_one_rank(factors: Callable, weights: tuple[float, ...]) -> None:
    parts = factors((4, 4, 4))
    assert_same_file(written("supermerger", weights, parts), *merge_lora_models(stored(parts), weights))
    halved = written("supermerger", [2 * weight for weight in weights], parts, blocks=(0.5, 0.5, 0.5))
    assert torch.equal(halved.up, written("supermerger", weights, parts).up)


def test_supermerger_makes_a_negative_ratio_positive(factors: Callable) -> None:
    parts = factors((4,))
    assert torch.allclose(written("supermerger", (-0.5,), parts).dense(), 0.25 * parts[0].dense(), rtol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_supermergers_new_rank_path_takes_the_root_of_the_strength(
    factors: Callable, weights: tuple[float, ...]
) -> None:
    parts = factors((2, 5, 3))
    roots = [np.sign(weight) * np.sqrt(abs(weight)) for weight in weights]
    assert torch.allclose(written("supermerger-svd", weights, parts).dense(), true_sum(roots, parts), atol=1e-10)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_pefts_svd_before_its_repair_counted_the_scale_twice(factors: Callable, weights: tuple[float, ...]) -> None:
    parts = factors((2, 5, 3))
    expected = true_sum([weight * part.scale for weight, part in zip(weights, parts, strict=True)], parts)
    assert torch.allclose(written("peft-svd-pre3111", weights, parts).dense(), expected, atol=1e-10)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("blocks", [None, (0.5, -0.8, 1.5)])
def test_the_table_of_coefficients_says_what_is_written(
    factors: Callable, name: str, blocks: tuple[float, ...] | None
) -> None:
    """sum_ij K_ij B_i A_j is the delta of the factors."""
    parts, weights = factors((4, 4, 4)), WEIGHTS[1]
    seen = [Part(w, p.scale, p.rank, b) for w, p, b in zip(weights, parts, blocks or (1.0, 1.0, 1.0), strict=True)]
    coefficients = BY_NAME[name].coefficients(seen)
    expected = sum(
        k * parts[i].up.double() @ parts[j].down.double()
        for i, row in enumerate(coefficients)
        for j, k in enumerate(row)
    )
    assert torch.allclose(written(name, weights, parts, blocks=blocks).dense(), expected, rtol=0, atol=1e-10)


def test_unequal_ranks_are_refused_in_the_tools_own_words(factors: Callable) -> None:
    parts = factors((2, 5))
    for name in ("kohya-merge", "supermerger"):
        with pytest.raises(MethodRefused, match=r"unequal ranks \(2 and 5\): weights shape mismatch merging v1 and v2"):
            written(name, (1.0, 1.0), parts)
    with pytest.raises(MethodRefused, match="All adapters must have the same r value"):
        written("peft-linear", (1.0, 1.0), parts)
    with pytest.raises(ValueError, match="All adapters must have the same r value"):
        Summed(parts).made((1.0, 1.0), "linear")
    assert {d.name for d in DIALECTS if d.arrangement is Arrangement.ADDED} == {
        "peft-linear", "kohya-merge", "supermerger"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["kohya-merge", "kohya-concat", "supermerger"])
def test_a_first_alpha_of_zero_stops_the_tools_that_divide_by_it(factors: Callable, name: str) -> None:
    parts = factors((3, 3), alphas=(0.0, 2.0))
    with pytest.raises(MethodRefused, match=r"alpha_0\) \(0 and 2\): float division by zero"):
        written(name, (1.0, 1.0), parts)
    with pytest.raises(MethodRefused, match=r"\(2 and -1\): math domain error"):
        written(name, (1.0, 1.0), factors((3, 3), alphas=(2.0, -1.0)))
