from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import Combination, Precision, ValidationRefused, Vector, check, open_vector
from formats import Architecture, Layout, ModuleSpec

LAYER = "text_encoder.text_model.encoder.layers.0"
FIRST_UP = "lora_unet_conv_in.lora_up.weight"


@pytest.fixture
def opened(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Callable[..., Vector]:
    """A random kohya vector, its tensors changed before it is opened."""

    def make(seed: int, change: Callable[[dict], object] | None = None, **settings: object) -> Vector:
        path = save(draft(seed, **settings), tmp_path / f"v{seed}")
        if change is not None:
            tensors = load_file(path)
            change(tensors)
            save_file(tensors, path)
        return open_vector(path, table)

    return make


def codes(combination: Combination, severity: str, **options: object) -> list[str]:
    return [f.code for f in check(combination, **options).findings if f.severity == severity]


def test_a_sound_sum_has_no_error_and_says_how_its_rank_grows(opened: Callable) -> None:
    verdict = check(Combination(((0.8, opened(0)), (1.0, opened(1)))))
    assert verdict.ok
    assert [finding.code for finding in verdict.findings] == ["rank-growth"]
    assert "rank 8, the largest input 4" in verdict.findings[0].sentence


def test_a_single_term_has_nothing_to_say(opened: Callable) -> None:
    assert check(Combination(((0.8, opened(0)),))).findings == ()


def test_vectors_of_two_architectures_do_not_add(
    opened: Callable, draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    wide = {**table.modules, "unet.conv_in": ModuleSpec("conv", (12, 4, 3, 3))}
    other = Architecture("wide", wide)
    b = open_vector(save(draft(1, architecture=other), tmp_path / "wide"), other)
    verdict = check(Combination(((1.0, opened(0)), (1.0, b))))
    assert [f.code for f in verdict.errors] == ["architecture-mismatch"]
    assert verdict.errors[0].sentence == "v0 is tiny, wide is wide."
    with pytest.raises(ValidationRefused, match="architecture-mismatch"):
        verdict.require()


def test_a_vector_of_other_shapes_is_an_error(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    wide = Architecture("wide", {**table.modules, "unet.conv_in": ModuleSpec("conv", (12, 4, 3, 3))})
    vector = open_vector(save(draft(0, architecture=wide), tmp_path / "v"), table)
    (finding,) = check(Combination(((1.0, vector),))).errors
    assert finding.code == "shape-mismatch"
    assert "unet.conv_in is 12x4x3x3, the base's is 10x4x3x3" in finding.sentence


def test_keys_of_no_module_are_an_error(opened: Callable) -> None:
    vector = opened(0, lambda tensors: tensors.update({"lora_unet_nowhere.lora_up.weight": torch.ones(2, 2)}))
    (finding,) = check(Combination(((1.0, vector),))).errors
    assert finding.code == "unmatched-keys"
    assert "lora_unet_nowhere.lora_up.weight" in finding.sentence


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", [FIRST_UP, "lora_unet_conv_in.lora_down.weight"])
def test_factors_that_are_no_numbers_are_an_error(number: float, key: str, opened: Callable) -> None:
    vector = opened(0, lambda tensors: tensors[key][0].fill_(number))
    (finding,) = check(Combination(((1.0, vector), (0.0, opened(1))))).errors
    assert finding.code == "non-finite"
    assert finding.sentence == "v0: NaN or infinity in 1 module: unet.conv_in."


def test_an_alpha_that_is_no_number_is_an_error(opened: Callable) -> None:
    vector = opened(0, lambda tensors: tensors["lora_unet_conv_in.alpha"].fill_(float("nan")))
    assert codes(Combination(((1.0, vector),)), "error") == ["non-finite"]


def test_an_alpha_of_zero_has_two_readings_and_is_an_error(opened: Callable) -> None:
    vector = opened(0, lambda tensors: tensors["lora_unet_conv_in.alpha"].zero_())
    assert codes(Combination(((1.0, vector),)), "error") == ["ambiguous-alpha"]


def test_entries_beyond_fp16_are_an_error_for_fp16_alone(opened: Callable) -> None:
    """Both factors are large, so balancing cannot help."""

    def enlarge(tensors: dict) -> None:
        tensors[FIRST_UP].mul_(1e7)
        tensors["lora_unet_conv_in.lora_down.weight"].mul_(1e7)

    combination = Combination(((1.0, opened(0, enlarge)),))
    assert codes(combination, "error", dtype="fp16") == ["fp16-overflow"]
    assert codes(combination, "error", dtype="bf16") == []


def test_balancing_saves_a_large_up_beside_a_small_down(opened: Callable) -> None:
    def shift(tensors: dict) -> None:
        tensors[FIRST_UP].mul_(1e7)
        tensors["lora_unet_conv_in.lora_down.weight"].mul_(1e-7)

    assert codes(Combination(((1.0, opened(0, shift)),)), "error", dtype=Precision.FP16) == []


def test_a_weight_beyond_float32_is_an_error(opened: Callable) -> None:
    assert codes(Combination(((1e60, opened(0)),)), "error") == ["fp32-overflow"]


def test_weights_that_cancel_change_nothing(opened: Callable) -> None:
    a = opened(0)
    assert codes(Combination(((0.1, a), (0.2, a), (-0.3, a))), "error") == ["no-change"]


def test_two_copies_in_other_layouts_that_cancel_change_nothing(
    opened: Callable, draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    copy = open_vector(save(draft(0), tmp_path / "copy", Layout.PEFT), table)
    assert codes(Combination(((0.7, opened(0)), (-0.7, copy))), "error") == ["no-change"]


def test_a_near_cancellation_is_still_a_change(opened: Callable) -> None:
    a, b = opened(0), opened(1)
    assert codes(Combination(((1.0, a), (1e-4, b), (-0.9999, a))), "error") == []


def test_an_untrained_vector_changes_nothing(opened: Callable) -> None:
    def untrained(tensors: dict) -> None:
        for key in tensors:
            if "lora_up" in key:
                tensors[key].zero_()

    zero = opened(0, untrained)
    assert codes(Combination(((1.0, zero),)), "error") == ["no-change"]
    assert codes(Combination(((1.0, zero), (1.0, opened(1)))), "warning") == ["dead-term"]


def test_a_term_with_weight_zero_is_dead(opened: Callable) -> None:
    assert codes(Combination(((0.0, opened(0)), (1.0, opened(1)))), "warning") == ["dead-term"]


def test_the_same_vector_twice_is_a_warning(opened: Callable) -> None:
    a = opened(0)
    assert codes(Combination(((0.5, a), (0.5, a))), "warning") == ["same-content-twice"]


@pytest.mark.parametrize(
    ("modules", "layout", "expected"),
    [
        ((f"{LAYER}.self_attn.q_proj",), Layout.KOHYA, ["kohya-text-encoder-without-out-proj"]),
        ((f"{LAYER}.self_attn.q_proj",), Layout.DIFFUSERS, []),
        ((f"{LAYER}.self_attn.q_proj", f"{LAYER}.self_attn.out_proj"), Layout.KOHYA, []),
        ((f"{LAYER}.mlp.fc1",), Layout.KOHYA, []),
        ((f"{LAYER}.mlp.fc1",), Layout.DIFFUSERS, ["diffusers-text-encoder-without-attention"]),
        (("unet.conv_in",), Layout.KOHYA, []),
    ],
)
def test_what_diffusers_cannot_load_is_a_warning(
    modules: tuple[str, ...], layout: Layout, expected: list[str], opened: Callable
) -> None:
    assert codes(Combination(((1.0, opened(0, modules=modules)),)), "warning", layout=layout) == expected


def test_errors_come_before_warnings(opened: Callable) -> None:
    vector = opened(0, lambda tensors: tensors[FIRST_UP].fill_(float("nan")))
    findings = check(Combination(((0.5, vector), (0.5, vector)))).findings
    assert [finding.severity for finding in findings] == ["error", "warning"]
