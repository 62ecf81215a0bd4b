"""Adapters of every kind: which runtimes read them, and the numbers that are told of them."""

import struct
from collections.abc import Callable

import pytest

from formats import architecture, identify

KOHYA = "lora_unet_mid_block_resnets_0_time_emb_proj"
PEFT = "unet.mid_block.resnets.0.time_emb_proj"


@pytest.mark.parametrize(
    ("shapes", "warning"),
    [
        (
            {
                f"{KOHYA}.lora_down.weight": (4, 1280),
                f"{KOHYA}.lora_up.weight": (1280, 4),
                f"{KOHYA}.dora_scale": (1280, 1),
            },
            "DoRA: diffusers drops dora_scale keys and paints with a plain adapter, ComfyUI reads them",
        ),
        (
            {
                f"{PEFT}.lora_A.weight": (4, 1280),
                f"{PEFT}.lora_B.weight": (1280, 4),
                f"{PEFT}.lora_magnitude_vector": (1280,),
            },
            "DoRA: ComfyUI drops lora_magnitude_vector keys and paints with a plain adapter, diffusers and PEFT",
        ),
        (
            {f"{KOHYA}.oft_blocks": (4, 320, 320)},
            "oft: diffusers refuses its keys, ComfyUI and LyCORIS read them, and its",
        ),
        ({f"{KOHYA}.oft_blocks": (2, 4, 320, 320)}, "boft: diffusers refuses its keys, ComfyUI and LyCORIS read them"),
        (
            {f"{PEFT}.oft_R.weight": (4, 51040)},
            "oft: diffusers refuses PEFT's keys of it and ComfyUI drops them, PEFT alone",
        ),
        ({f"{PEFT}.ia3_l": (1280, 1)}, "ia3: diffusers refuses PEFT's keys of it and ComfyUI drops them, PEFT alone"),
        (
            {f"{KOHYA}.weight": (1280,), f"{KOHYA}.on_input": ()},
            "ia3: diffusers refuses its keys and ComfyUI drops them",
        ),
        ({f"{KOHYA}.hada_w1_a": (8, 8)}, "loha: diffusers refuses its keys, ComfyUI and LyCORIS read them"),
    ],
)
def test_the_runtimes_that_drop_or_refuse_a_kind_are_named(shapes: dict, warning: str, write_file: Callable) -> None:
    assert any(one.startswith(warning) for one in identify(write_file(shapes)).warnings)


def test_a_plain_lora_is_warned_of_by_nobody(write_file: Callable) -> None:
    assert (
        identify(write_file({f"{KOHYA}.lora_down.weight": (4, 1280), f"{KOHYA}.lora_up.weight": (1280, 4)})).warnings
        == ()
    )


def test_normalisations_alone_are_a_full_difference(write_file: Callable) -> None:
    stem = "lora_unet_mid_block_resnets_0_norm1"
    found = identify(
        write_file({f"{stem}.w_norm": (1280,), f"{stem}.b_norm": (1280,)}), architectures=[architecture("sd15")]
    )
    assert (found.kind, found.family.value, found.adapter.value, found.rank) == ("vector", "sd15", "full", None)


def test_the_constraint_of_a_rotation_is_no_alpha(write_file: Callable) -> None:
    shapes = {f"{KOHYA}.oft_blocks": (4, 320, 320), f"{KOHYA}.alpha": ()}
    path = write_file(shapes, alphas={f"{KOHYA}.alpha": struct.pack("<f", 1e-3)})
    assert (identify(path).adapter.value, identify(path).alpha) == ("oft", None)


def test_a_number_too_large_for_a_rank_is_none(write_file: Callable) -> None:
    found = identify(write_file({f"{KOHYA}.lora_down.weight": (2**40, 0), f"{KOHYA}.lora_up.weight": (0, 2**40)}))
    assert (found.rank, found.ranks) == (None, {})
    assert found.family.value == "unknown"
