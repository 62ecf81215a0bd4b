"""The rivals' side of the arithmetic's benchmarks, run by the interpreter of an environment that has them.

It imports nothing of ours: files come and go as they are, times go back as one line of JSON. Each rival is used through
its public interface, with the options that its documentation names for the case.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

Figures = dict[str, Any]
SEED = 0


def main() -> None:
    """Do one piece of work and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument("--inputs", nargs="+", required=True, type=Path)
    parser.add_argument("--weights", nargs="+", required=True, type=float)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--modules", type=Path, help="JSON: module -> shape of its weight, for PEFT")
    parser.add_argument("--type", default="svd", help="of PEFT's add_weighted_adapter")
    parser.add_argument("--rank", type=int, help="of the result; default: the sum of the ranks")
    parser.add_argument("--config", help="sd-mecha's name of the base")
    parser.add_argument("--base", type=Path, help="a diffusers folder")
    options = parser.parse_args()
    print(json.dumps(WORKS[options.work](options)))


def peft(options: argparse.Namespace) -> Figures:
    """PEFT's add_weighted_adapter on a module tree of the base's true shapes; the merge and the saving are apart.

    The base's weights are views of one zero: no method here reads them, and they take no memory.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    shapes = {name.removeprefix("unet."): shape for name, shape in json.loads(options.modules.read_text()).items()}
    figures = _started("peft")
    model = None
    for i, path in enumerate(options.inputs):
        state, rank, alpha = _peft_state(path, shapes)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(shapes), init_lora_weights=False)
        if model is None:
            model = get_peft_model(_tree(shapes), config, adapter_name=f"input{i}")
        else:
            model.add_adapter(f"input{i}", config)
        _require_all(set_peft_model_state_dict(model, state, adapter_name=f"input{i}"), f"input{i}")
    figures["load_s"] = _elapsed(figures)
    svd = {"svd_rank": options.rank, "svd_full_matrices": False} if options.type == "svd" else {}
    names = [f"input{i}" for i in range(len(options.inputs))]
    model.add_weighted_adapter(names, options.weights, "sum", combination_type=options.type, **svd)
    figures["merge_s"] = _elapsed(figures) - figures["load_s"]
    model.save_pretrained(str(options.out), selected_adapters=["sum"])
    return _finished(figures)


def mecha(options: argparse.Namespace) -> Figures:
    """sd-mecha: each LoRA as deltas of the base, their weighted sum, and truncate_rank where a rank is asked for.

    What it writes are dense deltas in float32. Its `extract_kohya_lora`, which would write factors, computes the same
    SVD, but in 1.1.8 it asks for its input under the output's keys, finds none, and writes a file without tensors.
    """
    import sd_mecha

    figures = _started("sd-mecha")
    total = None
    for path, weight in zip(options.inputs, options.weights, strict=True):
        vector = sd_mecha.model(path, config=f"{options.config}_kohya_lora")
        deltas = sd_mecha.convert(vector, options.config)
        total = deltas if total is None else sd_mecha.add_difference(total, deltas, alpha=weight)
    if options.weights[0] != 1:
        raise SystemExit("the first weight must be 1: sd-mecha adds multiples to a first model")
    if options.rank:
        total = sd_mecha.truncate_rank(total, rank=options.rank, approximate_basis_seed=SEED)
    sd_mecha.merge(
        total,
        output=options.out.resolve(),
        merge_dtype=torch.float32,
        output_dtype=torch.float32,
        strict_merge_space="delta",
        tqdm=_silent,
    )
    return _finished(figures)


def diffusers(options: argparse.Namespace) -> Figures:
    """diffusers: load the U-Net in fp16, load both LoRAs, set_adapters, fuse_lora, save_pretrained, and sync."""
    import os

    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    figures = _started("diffusers")
    unet = UNet2DConditionModel.from_pretrained(options.base / "unet", torch_dtype=torch.float16)
    nothing = dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = StableDiffusionXLPipeline(**nothing, unet=unet, scheduler=EulerDiscreteScheduler())
    names = [f"input{i}" for i in range(len(options.inputs))]
    for name, path in zip(names, options.inputs, strict=True):
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
    figures["load_s"] = _elapsed(figures)
    pipeline.set_adapters(names, options.weights)
    pipeline.fuse_lora(components=["unet"], adapter_names=names)
    pipeline.unload_lora_weights()
    figures["fuse_s"] = _elapsed(figures) - figures["load_s"]
    unet.save_pretrained(options.out / "unet")
    os.sync()
    return _finished(figures)


WORKS: Mapping[str, Callable[[argparse.Namespace], Figures]] = {"peft": peft, "mecha": mecha, "diffusers": diffusers}


class Part(torch.nn.Module):
    """A branch of the tree."""


def _tree(shapes: Mapping[str, list[int]]) -> torch.nn.Module:
    root = Part()
    for module, shape in shapes.items():
        *path, last = module.split(".")
        at: torch.nn.Module = root
        for name in path:
            if not hasattr(at, name):
                at.add_module(name, Part())
            at = getattr(at, name)
        at.add_module(last, _layer(shape))
    return root


def _layer(shape: list[int]) -> torch.nn.Module:
    with torch.device("meta"):
        m, n, *kernel = shape
        layer = torch.nn.Conv2d(n, m, kernel, bias=False) if kernel else torch.nn.Linear(n, m, bias=False)
    layer.weight = torch.nn.Parameter(torch.zeros(1).expand(shape), requires_grad=False)
    return layer


def _peft_state(path: Path, shapes: Mapping[str, list[int]]) -> tuple[dict[str, torch.Tensor], int, float]:
    """A kohya file in PEFT's names, its rank and its alpha."""
    from safetensors.torch import load_file

    held = load_file(str(path))
    state, rank, alpha = {}, 0, 0.0
    for module in shapes:
        stem, name = "lora_unet_" + module.replace(".", "_"), f"base_model.model.{module}"
        state[f"{name}.lora_A.weight"] = held[f"{stem}.lora_down.weight"]
        state[f"{name}.lora_B.weight"] = held[f"{stem}.lora_up.weight"]
        rank, alpha = held[f"{stem}.lora_down.weight"].shape[0], held[f"{stem}.alpha"].item()
    return state, rank, alpha


def _require_all(loaded: Any, adapter: str) -> None:
    missing = [key for key in loaded.missing_keys if f".{adapter}." in key]
    if missing or loaded.unexpected_keys:
        raise SystemExit(f"{adapter}: PEFT missed {missing[:3]} and did not expect {loaded.unexpected_keys[:3]}")


def _silent(*_: object, **__: object) -> Any:
    from tqdm import tqdm

    return tqdm(disable=True)


def _started(library: str) -> Figures:
    """The clock, and what the process weighs with everything imported."""
    status = Path("/proc/self/status").read_text()
    before = int(status.partition("RssAnon:")[2].split()[0]) / 1024
    return {
        "versions": {name: version(name) for name in (library, "torch")},
        "before_mib": before,
        "began": time.perf_counter(),
    }


def _elapsed(figures: Figures) -> float:
    return time.perf_counter() - float(figures["began"])


def _finished(figures: Figures) -> Figures:
    figures["seconds"] = _elapsed(figures)
    del figures["began"]
    return figures


if __name__ == "__main__":
    main()
