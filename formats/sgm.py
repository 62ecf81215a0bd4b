"""The U-Net's module names in the dialect of the original code (sgm), which kohya uses for SDXL.

Forward only: from a diffusers name to the sgm name, as kohya's `make_unet_conversion_map` (library/sdxl_model_util.py).
"""

import re
from collections.abc import Mapping

OUTSIDE_BLOCKS: Mapping[str, str] = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}

IN_RESNET: Mapping[str, str] = {
    "norm1": "in_layers.0",
    "norm2": "out_layers.0",
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}

BLOCK = re.compile(
    r"(?P<side>down|up|mid)_blocks?(?:\.(?P<block>\d+))?\.(?P<part>resnets|attentions|downsamplers|upsamplers)"
    r"\.(?P<layer>\d+)\.(?P<rest>.+)"
)


def sgm_name(module: str, layers: int, attended_up_blocks: frozenset[int]) -> str | None:
    """The sgm name of the U-Net module `module` (without `unet.`); None for a module the original code does not have.

    `layers` is layers_per_block; in the `attended_up_blocks`, those with attention, the upsampler comes third.
    """
    if module in OUTSIDE_BLOCKS:
        return OUTSIDE_BLOCKS[module]
    match = BLOCK.fullmatch(module)
    if match is None:
        return None
    side, part, rest = match["side"], match["part"], match["rest"]
    block, layer = int(match["block"] or 0), int(match["layer"])
    if part == "downsamplers":
        return f"input_blocks.{(layers + 1) * (block + 1)}.0.op"
    if part == "upsamplers":
        return f"output_blocks.{(layers + 1) * block + layers}.{2 if block in attended_up_blocks else 1}.{rest}"
    inside = IN_RESNET.get(rest, rest) if part == "resnets" else rest
    return f"{_place(side, part, block, layer, layers)}.{inside}"


def _place(side: str, part: str, block: int, layer: int, layers: int) -> str:
    column = 0 if part == "resnets" else 1
    if side == "down":
        return f"input_blocks.{(layers + 1) * block + layer + 1}.{column}"
    if side == "up":
        return f"output_blocks.{(layers + 1) * block + layer}.{column}"
    return f"middle_block.{2 * layer + column}"


def up_blocks_with_attention(modules: Mapping[str, object]) -> frozenset[int]:
    """The indices of the up blocks that have attention, among modules named with their component."""
    found = (re.match(r"unet\.up_blocks\.(\d+)\.attentions\.", module) for module in modules)
    return frozenset(int(match[1]) for match in found if match)


def layers_per_block(modules: Mapping[str, object]) -> int:
    """How many ResNets each down block has."""
    found = (re.match(r"unet\.down_blocks\.0\.resnets\.(\d+)\.", module) for module in modules)
    return max((int(match[1]) + 1 for match in found if match), default=0)
