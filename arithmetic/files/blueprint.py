"""Where each module of a sum goes in a file of a given layout, before a tensor is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from arithmetic.errors import AlgebraError
from arithmetic.files.lora_config import Strength, adapter_fields, config_document, name_for_peft
from arithmetic.files.stream import Slot
from arithmetic.precision import Precision
from arithmetic.sources.combination import ModulePlan, Plan
from formats import Architecture, FactorKeys, Layout, component_of, factor_keys
from formats.role_keys import ROLE_ENDS, role_key

WRITTEN_LAYOUTS = (Layout.KOHYA, Layout.KOHYA_SGM, Layout.DIFFUSERS, Layout.PEFT, Layout.COMFY)
ADAPTER_METADATA = "lora_adapter_metadata"
PATTERNS = 2
"""rank_pattern and alpha_pattern."""


@dataclass(frozen=True)
class Blueprint:
    """One weight file to come: a plan, and how its tensors are spelled and stored.

    Kohya and ComfyUI files and PEFT folders carry one alpha for all modules (the largest rank), and r / alpha is folded
    into up: diffusers 0.42 mis-scales kohya files whose alphas vary, and PEFT's patterns cannot tell two text encoders
    apart. Diffusers files have alpha = r in every module, so a reader that overlooks their metadata is right all the
    same. Changes of biases and normalisations are written as they are.

    A rank that the computation finds is at most the plan's; `ranks` are those that were written.
    """

    plan: Plan
    layout: Layout
    precision: Precision

    @cached_property
    def alpha(self) -> int | None:
        """The one alpha of a kohya or ComfyUI file or a PEFT folder."""
        return None if self.layout is Layout.DIFFUSERS else self.plan.largest_rank

    @cached_property
    def keys(self) -> Mapping[str, FactorKeys]:
        """Module -> its keys, of those that have factors."""
        modules = (m.module for m in self.plan.modules if not m.is_channel)
        return {module: factor_keys(self.layout, module, self.plan.architecture) for module in modules}

    def slots(self) -> list[Slot]:
        """The tensors in the order of writing: the alphas first, since a float32 scalar keeps what follows aligned."""
        alphas = [Slot(key, "F32", ()) for key in self.alpha_tensors()]
        return alphas + [slot for module in self.plan.modules for slot in self._slots_of(module)]

    def channel_key(self, module: str) -> str:
        """The key of a bias or normalisation. Raises AlgebraError where the layout has no place for it."""
        role = channel_role(module, self.plan.architecture)
        if role not in ROLE_ENDS[self.layout]:
            raise AlgebraError(f"{module}: {self.layout} files hold no biases or normalisations. Write kohya or comfy.")
        return role_key(self.layout, module, role, self.plan.architecture)

    def _slots_of(self, module: ModulePlan) -> list[Slot]:
        tag, shape = self.precision.tag, module.spec.shape
        if module.is_channel:
            return [Slot(self.channel_key(module.module), tag, shape)]
        keys, rank = self.keys[module.module], required_rank(module)
        up_shape = (shape[0], rank, *(1 for _ in shape[2:]))
        return [
            Slot(keys.down, tag, (rank, *shape[1:]), module.is_limit),
            Slot(keys.up, tag, up_shape, module.is_limit),
        ]

    def alpha_tensors(self) -> dict[str, Tensor]:
        """Alpha key -> scalar; empty where the layout keeps alphas elsewhere."""
        value = torch.tensor(float(self.alpha or 0), dtype=torch.float32)
        return {keys.alpha: value for keys in self.keys.values() if keys.alpha is not None}

    def metadata(self, ranks: Mapping[str, int]) -> dict[str, str]:
        """What the layout itself keeps in the header: diffusers' LoraConfig of each component."""
        if self.layout is not Layout.DIFFUSERS:
            return {}
        entries: dict[str, Any] = {}
        for component in dict.fromkeys(component_of(module) for module in ranks):
            own = {module: rank for module, rank in ranks.items() if component_of(module) == component}
            entries |= {f"{component}.{key}": value for key, value in lora_config(own, self.alpha).items()}
        return {ADAPTER_METADATA: json.dumps(entries, sort_keys=True)}

    def widest_metadata(self) -> dict[str, str]:
        """As `metadata`, at least as long as it can become: no two ranks equal, so that all but one are exceptions."""
        most, limits = self.plan.largest_rank, self.limits
        if not any(module.is_limit for module in self.plan.modules):
            return self.metadata(limits)
        spread = {module: most * 10 + number for number, module in enumerate(limits)}
        components = {component_of(module) for module in limits}
        spare = " " * len(components) * PATTERNS * max(map(len, limits), default=0)
        return {key: value + spare for key, value in self.metadata(spread).items()}

    @property
    def limits(self) -> dict[str, int]:
        """Module -> the rank that the plan has."""
        return {module.module: required_rank(module) for module in self.plan.modules if not module.is_channel}


def draw(plan: Plan, layout: Layout, precision: Precision) -> Blueprint:
    """Raises AlgebraError for a layout that is read and not written."""
    if layout not in WRITTEN_LAYOUTS:
        raise AlgebraError(f"{layout}: this layout is read, not written. Write one of {', '.join(WRITTEN_LAYOUTS)}.")
    return Blueprint(plan, layout, precision)


def channel_role(module: str, architecture: Architecture) -> str:
    """What a change of one number a channel is: diff_b of a module's bias, w_norm and b_norm of a normalisation."""
    owner, _, end = module.rpartition(".")
    if owner in architecture.modules:
        return "diff_b"
    return "w_norm" if end == "weight" else "b_norm"


def required_rank(module: ModulePlan) -> int:
    """The planned rank. Raises AlgebraError where a term is kept as a matrix."""
    if module.rank is None:
        names = ", ".join(source.name for _, source in module.terms if source.modules[module.module].rank is None)
        raise AlgebraError(
            f"{module.module}: {names} is no low-rank delta. Give it a rank, as in ... | rank(64), or bake."
        )
    return module.rank


def lora_config(ranks: Mapping[str, int], alpha: int | None) -> dict[str, Any]:
    """The fields of PEFT's LoraConfig that say what was adapted; without an `alpha`, it is r everywhere."""
    return adapter_fields({name_for_peft(m): Strength(r, r if alpha is None else alpha) for m, r in ranks.items()})


def peft_config(blueprint: Blueprint, ranks: Mapping[str, int]) -> str:
    """adapter_config.json of a PEFT folder."""
    return json.dumps(config_document(lora_config(ranks, blueprint.alpha)), indent=2, sort_keys=True)
