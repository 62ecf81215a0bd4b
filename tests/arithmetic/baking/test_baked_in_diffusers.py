"""A baked folder paints what diffusers' own fusion paints."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from arithmetic.baking import bake

CLOSE = 1e-4


def latents(pipe: StableDiffusionPipeline) -> torch.Tensor:
    """Three guided steps from one noise."""
    pipe.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 3, "guidance_scale": 3.0, "width": 64, "height": 64, "output_type": "latent"}
    return pipe("a large red circle", generator=torch.Generator().manual_seed(1), **settings).images


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*", "ignore:Already found a `peft_config`:UserWarning")
@pytest.mark.parametrize("shard_bytes", [None, 1_000_000])
def test_a_baked_folder_paints_what_fuse_lora_paints(
    shard_bytes: int | None, worlds: Callable, planted: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    source = planted(
        world.table,
        {
            m: s.shape
            for m, s in world.table.modules.items()
            if s.kind != "embedding" and "proj" not in m.split(".")[-1][5:]
        },
        size=0.05,
    )
    state = {}
    for module, delta in source.modules.items():
        state[f"{module}.lora_A.weight"] = delta.down.float()
        state[f"{module}.lora_B.weight"] = delta.up.float() * delta.scale
    fused = StableDiffusionPipeline.from_pretrained(world.folder, safety_checker=None, dtype=torch.float32)
    plain = latents(fused)
    fused.load_lora_weights(state)
    fused.fuse_lora()
    wanted = latents(fused)
    assert (wanted - plain).abs().max() > 0.01
    bake([(1.0, world.weights("folder"))], source, tmp_path / "baked", shard_bytes=shard_bytes)
    baked = StableDiffusionPipeline.from_pretrained(tmp_path / "baked", safety_checker=None, dtype=torch.float32)
    assert (latents(baked) - wanted).abs().max() < CLOSE
