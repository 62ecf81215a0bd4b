"""Trained factors as a file that other tools read: kohya, diffusers or PEFT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from arithmetic.files.stream import Slot, tensor_stream
from distill_jobs.adapters import Factors
from formats import Architecture, FactorKeys, Layout, ModuleSpec, factor_keys

ExportLayout = Literal[Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT]
"""The layouts that a training can write."""

Components = Mapping[str, Mapping[str, Factors]]
"""Component ("unet", "text_encoder") -> module, as the network calls it -> factors."""

TEXT_MODEL = "text_model."


def export(components: Components, path: Path, layout: ExportLayout, metadata: Mapping[str, str]) -> Path:
    """Write the factors, fp32, as `path`, for peft as a folder of that name less its suffix; return what was written.

    Every file is written beside its place and renamed into it, so it is whole or absent.
    """
    modules = {canonical(c, m): factors for c, of in components.items() for m, factors in of.items()}
    architecture = Architecture("trained", {name: _spec(factors) for name, factors in modules.items()})
    tensors: dict[str, Tensor] = {}
    for name, factors in modules.items():
        tensors |= _tensors(factor_keys(layout, name, architecture), factors)
    path.parent.mkdir(parents=True, exist_ok=True)
    if layout is Layout.PEFT:
        return _save_folder(tensors, _config(modules), path.with_suffix(""), metadata)
    if layout is Layout.DIFFUSERS:
        metadata = {**metadata, "lora_adapter_metadata": json.dumps(_configs(modules))}
    return _save(tensors, path, metadata)


def canonical(component: str, module: str) -> str:
    """The name that tables and files use for a module, whatever transformers calls a text encoder's."""
    if component == "unet" or module.startswith(TEXT_MODEL):
        return f"{component}.{module}"
    return f"{component}.{TEXT_MODEL}{module}"


def _spec(factors: Factors) -> ModuleSpec:
    shape = (factors.up.shape[0], *factors.down.shape[1:])
    return ModuleSpec("conv" if factors.down.ndim == 4 else "linear", shape)


def _tensors(keys: FactorKeys, factors: Factors) -> dict[str, Tensor]:
    tensors = {keys.down: factors.down, keys.up: factors.up}
    return tensors if keys.alpha is None else {**tensors, keys.alpha: torch.tensor(factors.alpha)}


def _configs(modules: Mapping[str, Factors]) -> dict[str, object]:
    """One LoraConfig a component, flattened as diffusers does: `unet.r`, `text_encoder.r`."""
    components = dict.fromkeys(name.partition(".")[0] for name in modules)
    return {
        f"{component}.{key}": value
        for component in components
        for key, value in _config({n: f for n, f in modules.items() if n.startswith(f"{component}.")}).items()
    }


def _config(modules: Mapping[str, Factors]) -> dict[str, object]:
    """A LoraConfig: every module of one training has the same rank and alpha.

    Targets match ends of names, so a text encoder's are given without the `text_model.` that transformers 5 dropped.
    """
    first = next(iter(modules.values()))
    return {
        "peft_type": "LORA",
        "r": first.down.shape[0],
        "lora_alpha": first.alpha,
        "target_modules": sorted(name.partition(".")[2].removeprefix(TEXT_MODEL) for name in modules),
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
    }


def _save_folder(
    tensors: Mapping[str, Tensor], config: Mapping[str, object], folder: Path, metadata: Mapping[str, str]
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    _save(tensors, folder / "adapter_model.safetensors", metadata)
    return folder


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> Path:
    """The same tensors and metadata give the same bytes, which safetensors' own writer does not promise."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    slots = [Slot(key, "F32", tuple(tensors[key].shape)) for key in sorted(tensors)]
    with tensor_stream(partial, slots, {"format": "pt", **metadata}) as stream:
        for slot in slots:
            stream.write(slot.key, tensors[slot.key].detach().float().cpu())
    partial.replace(path)
    return path
