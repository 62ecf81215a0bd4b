"""Where each module of a sum goes in a file of a given layout, before a tensor is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from arithmetic.combination import ModulePlan, Plan
from arithmetic.errors import AlgebraError
from arithmetic.lora_config import Strength, adapter_fields, config_document, name_for_peft
from arithmetic.precision import Precision
from arithmetic.stream import Slot
from formats import FactorKeys, Layout, component_of, factor_keys

WRITTEN_LAYOUTS = (Layout.KOHYA, Layout.KOHYA_SGM, Layout.DIFFUSERS, Layout.PEFT, Layout.COMFY)
ADAPTER_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class Blueprint:
    """One weight file to come: a plan, and how its tensors are spelled and stored.

    Kohya and ComfyUI files and PEFT folders carry one alpha for all modules (the largest rank), and r / alpha is folded into up:
    diffusers 0.42 mis-scales kohya files whose alphas vary, and PEFT's patterns cannot tell two text encoders apart.
    Diffusers files have alpha = r in every module, so a reader that overlooks their metadata is right all the same.
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
        """Module -> its keys."""
        modules = self.plan.modules
        return {m.module: factor_keys(self.layout, m.module, self.plan.architecture) for m in modules}

    def scale(self, module: ModulePlan) -> float:
        """What a reader of the file multiplies up @ down by: alpha / r."""
        return 1.0 if self.alpha is None else self.alpha / module.rank

    def slots(self) -> list[Slot]:
        """The tensors in the order of writing: the alphas first, since a float32 scalar keeps what follows aligned."""
        tag = self.precision.tag
        alphas = [Slot(key, "F32", ()) for key in self.alpha_tensors()]
        factors: list[Slot] = []
        for module in self.plan.modules:
            keys, shape = self.keys[module.module], module.spec.shape
            up_shape = (shape[0], module.rank, *(1 for _ in shape[2:]))
            factors += [Slot(keys.down, tag, (module.rank, *shape[1:])), Slot(keys.up, tag, up_shape)]
        return alphas + factors

    def alpha_tensors(self) -> dict[str, Tensor]:
        """Alpha key -> scalar; empty where the layout keeps alphas elsewhere."""
        value = torch.tensor(float(self.alpha or 0), dtype=torch.float32)
        return {keys.alpha: value for keys in self.keys.values() if keys.alpha is not None}

    def metadata(self) -> dict[str, str]:
        """What the layout itself keeps in the header: diffusers' LoraConfig of each component."""
        if self.layout is not Layout.DIFFUSERS:
            return {}
        entries: dict[str, Any] = {}
        for component in dict.fromkeys(component_of(module.module) for module in self.plan.modules):
            own = [module for module in self.plan.modules if component_of(module.module) == component]
            entries |= {f"{component}.{key}": value for key, value in lora_config(own, self.alpha).items()}
        return {ADAPTER_METADATA: json.dumps(entries, sort_keys=True)}


def draw(plan: Plan, layout: Layout, precision: Precision) -> Blueprint:
    """Raises AlgebraError for a layout that is read and not written."""
    if layout not in WRITTEN_LAYOUTS:
        raise AlgebraError(f"{layout}: this layout is read, not written. Write one of {', '.join(WRITTEN_LAYOUTS)}.")
    return Blueprint(plan, layout, precision)


def lora_config(modules: list[ModulePlan], alpha: int | None) -> dict[str, Any]:
    """The fields of PEFT's LoraConfig that say what was adapted; without an `alpha`, it is r everywhere."""
    strengths = {name_for_peft(m.module): Strength(m.rank, m.rank if alpha is None else alpha) for m in modules}
    return adapter_fields(strengths)


def peft_config(blueprint: Blueprint) -> str:
    """adapter_config.json of a PEFT folder."""
    fields = lora_config(list(blueprint.plan.modules), blueprint.alpha)
    return json.dumps(config_document(fields), indent=2, sort_keys=True)
