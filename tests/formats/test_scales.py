import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key

from formats import FormatError, Header
from formats.scales import AlphaRule, Patterns, alpha_rules

NAMES = ["down_blocks.0.attn1.to_q", "down_blocks.0.attn1.to_out.0", "mid_block.attn2.to_q", "to_q", "conv_in"]
PATTERNS = [
    "to_q",
    "attn1.to_q",
    "^to_q",
    "to_q$",
    "^down_blocks.0.attn1.to_q",
    "0",
    r".*attn\d\.to_q",
    "attn[12].*",
    "in",
]


def header_with(metadata: dict[str, str]) -> Header:
    return Header(Path("file.safetensors"), {}, metadata, 8, 8)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.permutations(PATTERNS), st.integers(0, len(PATTERNS)), st.sampled_from(NAMES))
def test_patterns_match_what_pefts_own_search_matches(patterns: list[str], count: int, name: str) -> None:
    chosen = {pattern: float(i + 1) for i, pattern in enumerate(patterns[:count])}
    assert Patterns.parse(chosen).find(name) == chosen.get(get_pattern_key(list(chosen), name))


def test_without_a_configuration_alpha_is_the_rank() -> None:
    assert alpha_rules(header_with({}), None)["unet"].alpha_of(["conv_in"], 12) == 12


def test_a_configuration_without_lora_alpha_means_pefts_default() -> None:
    assert AlphaRule.parse({"r": 64}).alpha_of(["conv_in"], 64) == 8


def test_a_rank_stabilised_alpha_keeps_scale_alpha_over_root_rank() -> None:
    alpha = AlphaRule.parse({"lora_alpha": 6, "use_rslora": True}).alpha_of(["conv_in"], 9)
    assert alpha / 9 == pytest.approx(6 / math.sqrt(9))


def test_the_first_name_with_a_pattern_decides() -> None:
    rule = AlphaRule.parse({"lora_alpha": 1, "alpha_pattern": {"^encoder.q": 5}})
    assert rule.alpha_of(["text_model.encoder.q", "encoder.q"], 4) == 5


def test_the_header_holds_one_configuration_a_component() -> None:
    entries = {"unet.lora_alpha": 3, "unet.alpha_pattern": {"to_q": 7}, "text_encoder.lora_alpha": 5}
    rules = alpha_rules(header_with({"lora_adapter_metadata": json.dumps(entries)}), None)
    assert rules["unet"].alpha_of(["a.to_q"], 4) == 7
    assert rules["unet"].alpha_of(["a.to_k"], 4) == 3
    assert rules["text_encoder"].alpha_of(["a.to_q"], 4) == 5
    assert rules["text_encoder_2"].alpha_of(["a.to_q"], 4) == 4


def test_a_configuration_without_components_counts_for_all() -> None:
    rules = alpha_rules(header_with({"lora_adapter_metadata": '{"r": 4, "lora_alpha": 2}'}), None)
    assert rules["unet"].alpha_of(["x"], 4) == 2


def test_the_folders_configuration_goes_before_the_headers() -> None:
    header = header_with({"lora_adapter_metadata": '{"r": 4, "lora_alpha": 2}'})
    assert alpha_rules(header, {"lora_alpha": 9})["unet"].alpha_of(["x"], 4) == 9


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": "8"},
        {"lora_alpha": True},
        {"lora_alpha": math.nan},
        {"lora_alpha": None},
        {"lora_alpha": 10**400},
        {"alpha_pattern": [1]},
        {"alpha_pattern": {"to_q": None}},
        {"alpha_pattern": {"(": 1}},
        {"alpha_pattern": {"(a|b)" * 500: 1}},
    ],
)
def test_a_configuration_of_the_wrong_types_is_refused(config: dict) -> None:
    with pytest.raises(FormatError, match="adapter's configuration"):
        AlphaRule.parse(config)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "[" * 100_000])
def test_adapter_metadata_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="lora_adapter_metadata"):
        alpha_rules(header_with({"lora_adapter_metadata": text}), None)
