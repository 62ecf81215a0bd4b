"""What a composed file says of itself in its header: recipe, digests of the inputs, the least that other tools expect.

There is no date in it: the same locked recipe gives the same bytes.
"""

import json
from collections.abc import Mapping

from arithmetic.certificate import ENGINE_VERSION, LOCKED_KEY, RECIPE_KEY, input_records
from arithmetic.sources.combination import Combination
from formats import Architecture, Layout

MODELSPEC_VERSION = "1.0.1"
MODELSPEC_ARCHITECTURES = {
    "sd15": "stable-diffusion-v1",
    "sd21": "stable-diffusion-v2-768-v",
    "sdxl": "stable-diffusion-xl-v1-base",
    "ssd1b": "stable-diffusion-xl-v1-base",
}
KOHYA_BASES = {"sd15": "sd_v1", "sd21": "sd_v2_v", "sdxl": "sdxl_base_v1-0", "ssd1b": "sdxl_base_v1-0"}


def file_metadata(
    combination: Combination, layout: Layout, *, rank: int, recipe: str, locked: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """The header's `__metadata__`; `extra` may add entries, and replaces the title."""
    metadata = {
        RECIPE_KEY: recipe,
        LOCKED_KEY: locked,
        "tauworks.inputs": json.dumps(input_records(combination), sort_keys=True),
        "tauworks.engine": ENGINE_VERSION,
        "modelspec.sai_model_spec": MODELSPEC_VERSION,
        "modelspec.architecture": _modelspec_architecture(combination.architecture),
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": recipe,
    }
    if layout in (Layout.KOHYA, Layout.KOHYA_SGM):
        metadata |= _kohya(combination.architecture, rank)
    return {**metadata, **extra}


def _modelspec_architecture(architecture: Architecture) -> str:
    return MODELSPEC_ARCHITECTURES.get(architecture.name, architecture.name) + "/lora"


def _kohya(architecture: Architecture, rank: int) -> dict[str, str]:
    """One alpha in all modules, and the rank of the largest."""
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
    }
    if architecture.name in KOHYA_BASES:
        metadata["ss_base_model_version"] = KOHYA_BASES[architecture.name]
    return metadata
