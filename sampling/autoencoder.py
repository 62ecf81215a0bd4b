"""The original code's names of a VAE's tensors (CompVis latent-diffusion, ldm/modules/diffusionmodules/model.py)."""

import re

PREFIX = "first_stage_model."

_BLOCK = re.compile(
    r"(?P<half>encoder|decoder)\.(?P<side>down|up)_blocks\.(?P<block>\d+)"
    r"\.(?P<part>resnets|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)
_MIDDLE = re.compile(
    r"(?P<half>encoder|decoder)\.mid_block\.(?P<part>resnets|attentions)\.(?P<layer>\d+)\.(?P<rest>.+)"
)
_RENAMED = {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"}
_IN_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original_name(name: str, blocks: int) -> str:
    """The original code's key of the tensor that diffusers' AutoencoderKL with so many blocks calls `name`.

    The decoder counts its blocks from the picture inwards there, from the latents outwards here.
    """
    if match := _BLOCK.fullmatch(name):
        number = int(match["block"]) if match["side"] == "down" else blocks - 1 - int(match["block"])
        inside = f"block.{match['layer']}" if match["part"] == "resnets" else f"{match['side']}sample"
        return f"{PREFIX}{match['half']}.{match['side']}.{number}.{inside}.{_renamed(match['rest'], _RENAMED)}"
    if match := _MIDDLE.fullmatch(name):
        inside = "block" if match["part"] == "resnets" else "attn"
        rest = _renamed(match["rest"], _RENAMED if match["part"] == "resnets" else _IN_ATTENTION)
        return f"{PREFIX}{match['half']}.mid.{inside}_{int(match['layer']) + 1}.{rest}"
    half, dot, rest = name.partition(".")
    return f"{PREFIX}{half}{dot}{_renamed(rest, _RENAMED)}"


def _renamed(name: str, names: dict[str, str]) -> str:
    module, _, end = name.rpartition(".")
    return f"{names.get(module, module)}.{end}" if module else end
