"""A trainable LoRA on a frozen network: injected by PEFT, switched on and off, taken out, and exported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from arithmetic.sources.source import Source
from distill_jobs.errors import UnknownTarget, UnsupportedBase

ADAPTER = "student"

LCD_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
)
"""The modules of the LCM-LoRA report (diffusers' train_lcm_distill_lora scripts)."""

STYLE_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ENCODER_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""out_proj included: diffusers refuses kohya text-encoder files that lack it."""


@dataclass(frozen=True)
class Factors:
    """The trained factors of one module: up (m, r[, 1, 1]), down (r, n[, k, k]); the delta is alpha / r up down."""

    up: Tensor
    down: Tensor
    alpha: float


class InjectedAdapter:
    """A fresh LoRA on every target module of `network`, whose own weights are frozen.

    The factors start as PEFT's default (down random by `seed`, up zero), so the network is unchanged until trained.
    """

    def __init__(self, network: nn.Module, targets: Sequence[str], *, rank: int, alpha: float, seed: int) -> None:
        _check(network, targets)
        network.requires_grad_(False)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            inject_adapter_in_model(config, network, adapter_name=ADAPTER)
        self.network = network
        self.alpha = alpha
        self.layers: Mapping[str, Any] = {n: m for n, m in network.named_modules() if isinstance(m, LoraLayer)}

    @property
    def adapted_parameters(self) -> int:
        """How many parameters the adapted weights of the base have."""
        return sum(layer.get_base_layer().weight.numel() for layer in self.layers.values())

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name: "<module>.down" and "<module>.up"."""
        named = {}
        for module, layer in self.layers.items():
            named[f"{module}.down"] = layer.lora_A[ADAPTER].weight
            named[f"{module}.up"] = layer.lora_B[ADAPTER].weight
        return named

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, `network` is the frozen base."""
        for layer in self.layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.enable_adapters(True)

    def folded(self) -> dict[str, Tensor]:
        """The adapted weights W + alpha / r up down, by parameter name, differentiable in the factors.

        To be put into the network by `torch.func.functional_call` while it is off: what `network` computes when it is
        on, up to rounding, without the passes through the factors.
        """
        weights = {}
        for module, layer in self.layers.items():
            weight = layer.get_base_layer().weight
            up, down = layer.lora_B[ADAPTER].weight, layer.lora_A[ADAPTER].weight
            delta = (up.flatten(1) @ down.flatten(1)).view_as(weight)
            weights[f"{module}.base_layer.weight"] = (weight + layer.scaling[ADAPTER] * delta).to(weight.dtype)
        return weights

    def factors(self, weights: Mapping[str, Tensor]) -> dict[str, Factors]:
        """The factors of every module, from `weights` named as `parameters` are."""
        return {
            module: Factors(weights[f"{module}.up"].detach(), weights[f"{module}.down"].detach(), self.alpha)
            for module in self.layers
        }

    def remove(self) -> None:
        """Take the LoRA out: `network` is again what it was, with the very same weights."""
        for module, layer in self.layers.items():
            self.network.set_submodule(module, layer.get_base_layer())
        if hasattr(self.network, "peft_config"):
            del self.network.peft_config


@contextmanager
def injected(
    network: nn.Module, targets: Sequence[str], *, rank: int, alpha: float, seed: int
) -> Iterator[InjectedAdapter]:
    """An `InjectedAdapter` for the length of a block."""
    adapter = InjectedAdapter(network, targets, rank=rank, alpha=alpha, seed=seed)
    try:
        yield adapter
    finally:
        adapter.remove()


@contextmanager
def fused(network: nn.Module, vector: Source) -> Iterator[None]:
    """Inside, `network` carries W + dW of `vector`'s modules in place of W; afterwards the very same weights again.

    The sum is taken in float64 and rounded once. Raises UnsupportedBase for a module that `network` lacks, or has in
    another size, and for one outside the U-Net.
    """
    weights = {module: _weight(network, vector.name, module) for module in vector.modules}
    deltas = {module: _delta(vector, module, weight) for module, weight in weights.items()}
    kept = {module: weight.detach().clone() for module, weight in weights.items()}
    _overwrite(weights, {module: kept[module].double() + delta for module, delta in deltas.items()})
    try:
        yield
    finally:
        _overwrite(weights, kept)


@torch.no_grad()
def _overwrite(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for module, weight in weights.items():
        weight.copy_(values[module])


def _weight(network: nn.Module, vector: str, module: str) -> nn.Parameter:
    component, _, name = module.partition(".")
    if component != "unet":
        raise UnsupportedBase(f"{vector}: changes {module}; expected a vector of the U-Net alone")
    try:
        weight = network.get_submodule(name).weight
    except AttributeError as error:
        raise UnsupportedBase(f"{vector}: this base has no module {module}; the vector is for another one") from error
    if not isinstance(weight, nn.Parameter):
        raise UnsupportedBase(f"{vector}: {module} has no weight that a vector could change")
    return weight


def _delta(vector: Source, module: str, weight: Tensor) -> Tensor:
    delta = vector.delta(module).dense()
    if delta.numel() != weight.numel():
        raise UnsupportedBase(
            f"{vector.name}: {module} has {delta.numel()} weights, the base's has {weight.numel()}; "
            "the vector is for another base"
        )
    return delta.view_as(weight)


def _check(network: nn.Module, targets: Sequence[str]) -> None:
    names = [name for name, _ in network.named_modules()]
    if any(isinstance(module, LoraLayer) for module in network.modules()):
        raise UnsupportedBase(f"{type(network).__name__}: already carries a LoRA; train on the base alone")
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise UnknownTarget(f"{type(network).__name__}: no module is called {target!r}; remove it from the targets")
