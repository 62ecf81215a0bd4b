"""What lycoris-lora makes of its own modules: lycoris.safetensors, read by tests/arithmetic/sources/test_lycoris.py.

Run by hand where lycoris-lora is installed: python make_lycoris.py. Each case keeps the base's weight, the pieces as
LyCORIS saves them, and the change of the weight at each multiplier.
"""

import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file
from torch import Tensor, nn

Change = Callable[[nn.Module, float], Tensor]
LINEAR, CONV, POINT = ("linear", 12, 8), ("conv", 4, 6, 3), ("conv", 4, 6, 1)


def layer(spec: tuple) -> nn.Module:
    """The adapted layer of a case."""
    kind, out, inside, *kernel = spec
    if kind == "linear":
        return nn.Linear(inside, out)
    if kind == "norm":
        return nn.LayerNorm(out)
    return nn.Conv2d(inside, out, kernel[0], padding=kernel[0] // 2)


def forward_change(module: nn.Module, multiplier: float) -> Tensor:
    """What forward adds: get_diff_weight of LoHa and LoKr has the scale twice in 4.1, get_weight once."""
    change = module.get_weight(module.shape) * module.scalar
    if module.wd:
        return module.apply_weight_decompose(module.org_weight + change, multiplier) - module.org_weight
    return change * multiplier


def merged_change(module: nn.Module, multiplier: float) -> Tensor:
    """The merged weight less the base's."""
    return module.get_merged_weight(multiplier)[0] - module.org_weight


def cases() -> Iterator[tuple[str, tuple, type, dict, Change]]:
    """Name, layer, class, its arguments, and how the change is asked for."""
    for name, spec in (("linear", LINEAR), ("conv", CONV), ("point", POINT)):
        yield f"locon-{name}", spec, LoConModule, {"lora_dim": 3, "alpha": 1.5}, merged_change
        yield f"loha-{name}", spec, LohaModule, {"lora_dim": 2, "alpha": 3}, forward_change
        yield f"glora-{name}", spec, GLoRAModule, {"lora_dim": 2, "alpha": 1}, merged_change
        for axis in (True, False):
            wide = {"weight_decompose": True, "wd_on_out": axis}
            side = "out" if axis else "in"
            yield f"dora-{side}-{name}", spec, LoConModule, {"lora_dim": 3, "alpha": 1.5, **wide}, merged_change
            yield f"doha-{side}-{name}", spec, LohaModule, {"lora_dim": 2, "alpha": 3, **wide}, forward_change
            yield f"dokr-{side}-{name}", spec, LokrModule, {"lora_dim": 1, "alpha": 2, **wide}, forward_change
        yield f"ia3-out-{name}", spec, IA3Module, {}, merged_change
        yield f"ia3-in-{name}", spec, IA3Module, {"train_on_input": True}, merged_change
        yield f"full-{name}", spec, FullModule, {}, merged_change
        yield f"lokr-whole-{name}", spec, LokrModule, {"lora_dim": 4, "alpha": 2, "full_matrix": True}, forward_change
        yield f"lokr-second-{name}", spec, LokrModule, {"lora_dim": 1, "alpha": 2}, forward_change
        both = {"lora_dim": 1, "alpha": 2, "decompose_both": True}
        yield f"lokr-both-{name}", spec, LokrModule, both, forward_change
        rotated, butterfly = {"lora_dim": 2}, {"lora_dim": spec[1] // 2}
        yield f"oft-{name}", spec, DiagOFTModule, rotated, merged_change
        tight = {**rotated, "constraint": 0.05, "rescaled": True}
        yield f"oft-constrained-{name}", spec, DiagOFTModule, tight, merged_change
        yield f"boft-{name}", spec, ButterflyOFTModule, butterfly, merged_change
        yield f"boft-constrained-{name}", spec, ButterflyOFTModule, {**tight, **butterfly}, merged_change
    tucker = {"lora_dim": 2, "alpha": 3, "use_tucker": True}
    yield "locon-tucker", CONV, LoConModule, tucker, merged_change
    yield "loha-tucker", CONV, LohaModule, tucker, forward_change
    yield "lokr-tucker", CONV, LokrModule, {**tucker, "lora_dim": 1, "factor": 2}, forward_change
    first = {"lora_dim": 2, "alpha": 3, "decompose_both": True, "factor": 2, "unbalanced_factorization": True}
    yield "lokr-first", ("linear", 24, 8), LokrModule, first, forward_change
    yield "locon-scalar", LINEAR, LoConModule, {"lora_dim": 3, "alpha": 2, "use_scalar": True}, merged_change
    yield "locon-rslora", LINEAR, LoConModule, {"lora_dim": 3, "alpha": 2, "rs_lora": True}, merged_change
    yield "loha-rslora", LINEAR, LohaModule, {"lora_dim": 2, "alpha": 2, "rs_lora": True}, forward_change
    yield "norm", ("norm", 12, 12), NormModule, {}, merged_change


def main() -> None:
    """Write lycoris.safetensors beside this file."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}
    specs = {}
    for name, spec, kind, arguments, change in cases():
        dtype = torch.float32 if "oft" in name else torch.float64  # its rotations are inverted in float32
        base = layer(spec).to(dtype)
        module = kind(name, base, **arguments).to(dtype)
        weight, bias = base.weight.detach().clone(), base.bias.detach().clone()
        if kind is FullModule:
            module.apply_to()  # before that its state_dict is not the difference
        spread = 0.1 if "oft" in name else 0.5
        with torch.no_grad():
            for own, parameter in module.named_parameters():
                parameter.add_(torch.randn_like(parameter) * spread)
                if own == "dora_scale":
                    parameter.abs_()
            tensors[f"{name}/base"] = weight
            tensors |= {f"{name}/piece/{end}": one.detach().clone() for end, one in module.state_dict().items()}
            for multiplier in (1.0, 0.7) if name[0] in "db" or "oft" in name else (0.7,):
                tensors[f"{name}/change/{multiplier}"] = change(module, multiplier).detach().clone()
            if name == "loha-linear":
                tensors[f"{name}/exported"] = module.get_diff_weight()[0].reshape(weight.shape).clone()
            if kind in (FullModule, NormModule):
                tensors[f"{name}/bias"] = module.get_merged_weight(0.7)[1].detach() - bias
        specs[name] = spec
    about = {
        "library": f"lycoris-lora {version('lycoris-lora')}, torch {torch.__version__}",
        "specs": json.dumps(specs),
    }
    written = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(written, Path(__file__).with_name("lycoris.safetensors"), about)


if __name__ == "__main__":
    main()
