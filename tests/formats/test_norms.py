from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline
from torch import nn

from formats import architecture, architecture_of_folder, identify
from formats.norms import norm_widths


def test_the_normalisations_of_a_table_are_those_of_the_networks(
    small_pipeline: StableDiffusionPipeline, small_base: Path
) -> None:
    found = {}
    for component in ("unet", "text_encoder"):
        for name, module in getattr(small_pipeline, component).named_modules():
            if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                inner = name if component == "unet" or name.startswith("text_model.") else f"text_model.{name}"
                found[f"{component}.{inner}"] = module.weight.shape[0]
    assert norm_widths(architecture_of_folder(small_base, "small")) == found


@pytest.mark.parametrize(
    ("ends", "prefix"),
    [
        (("w_norm", "b_norm"), "lora_unet_down_blocks_0_attentions_0"),
        (("diff", "diff_b"), "diffusion_model.input_blocks.1.1"),
    ],
)
def test_an_adapter_of_normalisations_alone_is_a_full_one(ends, prefix: str, write_stripped: Callable) -> None:
    separator = "_" if "_unet_" in prefix else "."
    stem = f"{prefix}{separator}transformer_blocks{separator}0{separator}norm1"
    found = identify(
        write_stripped({f"{stem}.{end}": (320,) for end in ends}), architectures=[architecture("sd15")], hashes=False
    )
    assert (found.kind, found.family.value, found.adapter.value, found.modules) == ("vector", "sd15", "full", 1)


def test_a_normalisation_of_another_width_does_not_fit(write_stripped: Callable) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_norm1"
    found = identify(write_stripped({f"{stem}.w_norm": (321,)}), architectures=[architecture("sd15")], hashes=False)
    assert found.family.value == "unknown"
    assert "expected [320], got [321]" in found.family.evidence[0]
