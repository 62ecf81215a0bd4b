"""How published acceleration vectors want to be sampled, told by the names that they were published under.

The numbers are those of the publishers' own instructions; where these say a guidance scale of 0, which means none in
diffusers, it is 1 here.
"""

import re
from pathlib import Path
from typing import Any

LCM = {"solver": "lcm", "timestep_spacing": "trailing", "original_inference_steps": 50}
TCD = {"solver": "tcd", "timestep_spacing": "trailing", "original_inference_steps": 50}
DDIM = {"solver": "ddim", "timestep_spacing": "trailing", "eta": 0.0}
EULER = {"solver": "euler", "timestep_spacing": "trailing"}


def _guided(low: float, high: float) -> dict[str, Any]:
    return {"guidance": [low, high], "convention": "diffusers"}


UNGUIDED = _guided(1.0, 1.0)

FAMILIES: tuple[tuple[str, dict[str, Any]], ...] = (
    # ByteDance/Hyper-SD: one step with TCD, 2 to 8 with DDIM, those that keep guidance with 5 to 8 of it
    (r"hyper[-_]?sd\w*-(?P<steps>\d+)-?steps?-cfg", {**DDIM, **_guided(5.0, 8.0)}),
    (r"hyper[-_]?sd\w*-1-?step", {**TCD, **UNGUIDED, "eta": 1.0, "steps": list(range(1, 9))}),
    (r"hyper[-_]?sd\w*-(?P<steps>\d+)-?steps?", {**DDIM, **UNGUIDED}),
    # ByteDance/SDXL-Lightning
    (r"lightning[-_](?P<steps>\d+)-?steps?", {**EULER, **UNGUIDED}),
    # wangfuyun/PCM_Weights
    (r"pcm_\w*lcmlike", {**LCM, **UNGUIDED, "steps": [2, 4, 8]}),
    (r"pcm_\w*normalcfg_(?P<steps>\d+)step", {**DDIM, **_guided(7.5, 7.5)}),
    (r"pcm_\w*smallcfg_(?P<steps>\d+)step", {**DDIM, **_guided(1.0, 2.0)}),
    # tianweiy/DMD2
    (r"dmd2_\w*4step_lora", {**LCM, **UNGUIDED, "steps": [4], "timesteps": [999, 749, 499, 249]}),
    # h1t/TCD-SD15-LoRA and its kin
    (r"(?<![a-z])tcd(?![a-z])", {**TCD, **UNGUIDED, "eta": 0.3, "steps": list(range(2, 51))}),
    # latent-consistency/lcm-lora-sdv1-5 and its kin
    (r"(?<![a-z])lcm[-_]?(lora|sd|weights)", {**LCM, **_guided(1.0, 2.0), "steps": list(range(2, 9))}),
)
"""A pattern of lower-case names, and the profile of what is called so; the first that matches counts."""

GENERIC = ("pytorch_lora_weights", "adapter_model")
"""File names that say nothing; the folder's does."""


def names_of(path: Path, *more: str | None) -> tuple[str, ...]:
    """What a vector at a path may be known by, beside `more`: its name, and that of its folder where it has none."""
    own = path.parent.name if path.stem in GENERIC else path.name
    return (own, *(name for name in more if name))


def published_profile(*names: str) -> dict[str, Any] | None:
    """The sampling profile of a vector that is known by one of `names`, of files and repositories, else None."""
    for name in names:
        for pattern, profile in FAMILIES:
            if found := re.search(pattern, name.lower()):
                steps = found.groupdict().get("steps")
                return {**profile, "steps": [int(steps)]} if steps else dict(profile)
    return None
