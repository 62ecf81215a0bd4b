"""Writes weights.safetensors: bases before and after lycoris-lora and sd-mecha merged small files into them.

Run by hand in an environment that has both: python make_weights.py. The file's metadata names their versions.
"""

from importlib.metadata import version
from pathlib import Path

import sd_mecha
import torch
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.utils import merge
from safetensors.torch import save_file
from sd_mecha.extensions.builtin.merge_methods.linear import add_difference
from torch import Tensor, nn

LYCORIS_SCALE = 0.7
MECHA_WEIGHTS = (0.8, -0.5)
LAYERS = {
    "unet.conv_in": (10, 4, 3, 3),
    "unet.down_blocks.0.attentions.0.proj_in": (10, 10, 1, 1),
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (10, 10),
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (10, 7),
    "text_encoder.text_model.encoder.layers.0.mlp.fc1": (28, 7),
}
SHAPES = {"conv_in": (320, 4, 3, 3)}


def layer(shape: tuple[int, ...]) -> nn.Module:
    """Linear or convolution."""
    if len(shape) == 2:
        return nn.Linear(shape[1], shape[0])
    return nn.Conv2d(shape[1], shape[0], shape[2], padding=shape[2] // 2)


def network(component: str) -> nn.Module:
    """The layers of one component under their names."""
    root = nn.Module()
    for name, shape in LAYERS.items():
        own, _, path = name.partition(".")
        if own == component:
            *folders, last = path.split(".")
            place = root
            for folder in folders:
                if folder not in dict(place.named_children()):
                    place.add_module(folder, nn.Module())
                place = getattr(place, folder)
            place.add_module(last, layer(shape))
    return root


def stem(name: str) -> str:
    """As kohya's files name a module."""
    component, _, path = name.partition(".")
    return f"lora_{'unet' if component == 'unet' else 'te'}_{path.replace('.', '_')}"


def pieces(kind: type) -> dict[str, Tensor]:
    """A LoHa or LoKr of every layer. alpha is the rank: LyCORIS 4.1 merges with alpha / rank twice otherwise."""
    tensors = {}
    for name, shape in LAYERS.items():
        module = kind(stem(name), layer(shape), lora_dim=2, alpha=2)
        tensors |= {f"{stem(name)}.{end}": one.detach().clone() for end, one in module.state_dict().items()}
    return {key: one if key.endswith("alpha") else one + torch.randn_like(one) * 0.3 for key, one in tensors.items()}


def lycoris(name: str, kind: type) -> dict[str, Tensor]:
    """Base, pieces and merged weights of one kind."""
    unet, encoder = network("unet"), network("text_encoder")
    networks = {"unet": unet, "text_encoder": encoder}

    def weights() -> dict[str, Tensor]:
        return {
            own: networks[own.partition(".")[0]].get_parameter(f"{own.partition('.')[2]}.weight").detach().clone()
            for own in LAYERS
        }

    drawn, before = pieces(kind), weights()
    merge([encoder], unet, {key: tensor.clone() for key, tensor in drawn.items()}, LYCORIS_SCALE)
    made = {f"lycoris/{name}/base/{own}": tensor for own, tensor in before.items()}
    made |= {f"lycoris/{name}/piece/{key}": tensor for key, tensor in drawn.items()}
    return made | {f"lycoris/{name}/merged/{own}": tensor for own, tensor in weights().items()}


def mecha() -> dict[str, Tensor]:
    """Two LoRAs of other ranks and alphas, added to the first convolution of SD-1.5."""
    made, merged = dict[str, Tensor](), dict[str, Tensor]()
    base = {f"unet.{name}.weight": torch.randn(shape) * 0.1 for name, shape in SHAPES.items()}
    recipe = sd_mecha.model(base, "sd1-kohya")
    for number, (weight, rank, alpha) in enumerate(zip(MECHA_WEIGHTS, (2, 3), (1.0, 5.0), strict=True)):
        tensors = {}
        for name, shape in SHAPES.items():
            tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(shape[0], rank, 1, 1) * 0.3
            tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(rank, *shape[1:]) * 0.3
            tensors[f"lora_unet_{name}.alpha"] = torch.tensor(alpha)
        made |= {f"mecha/{number}/{key}": tensor for key, tensor in tensors.items()}
        delta = sd_mecha.convert(sd_mecha.model(tensors, "sd1-kohya_kohya_lora"), "sd1-kohya")
        recipe = add_difference(recipe, delta, alpha=weight)
    sd_mecha.merge(
        recipe, merge_dtype=torch.float64, output_dtype=torch.float32, strict_mandatory_keys=False, output=merged
    )
    for name in SHAPES:
        made[f"mecha/base/{name}"] = base[f"unet.{name}.weight"]
        made[f"mecha/merged/{name}"] = merged[f"unet.{name}.weight"]
    return made


def main() -> None:
    """Draw, merge, write."""
    torch.manual_seed(0)
    tensors = lycoris("loha", LohaModule) | lycoris("lokr", LokrModule) | mecha()
    stated = {name: version(name) for name in ("lycoris-lora", "sd-mecha", "torch")}
    path = Path(__file__).with_name("weights.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=stated)


if __name__ == "__main__":
    main()
