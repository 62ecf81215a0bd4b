"""The fields of PEFT's LoraConfig that say what was adapted, how wide and how strongly."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple


class Strength(NamedTuple):
    """Rank and alpha of one module; its scale is alpha / rank."""

    rank: int
    alpha: float


def adapter_fields(strengths: Mapping[str, Strength]) -> dict[str, Any]:
    """Module, as its network calls it -> strength, as LoraConfig's fields: the commonest values, then the exceptions.

    PEFT matches a pattern with the end of a name, so that whole names are patterns that mean one module each.
    """
    rank = Counter(strength.rank for strength in strengths.values()).most_common(1)[0][0]
    alpha = Counter(strength.alpha for strength in strengths.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {name: one.rank for name, one in strengths.items() if one.rank != rank},
        "alpha_pattern": {name: _number(one.alpha) for name, one in strengths.items() if one.alpha != alpha},
        "target_modules": sorted(strengths),
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
    }


def config_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """adapter_config.json of a PEFT folder."""
    return {
        **fields,
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "modules_to_save": None,
    }


def name_for_peft(module: str) -> str:
    """A module's name within its network: patterns match ends, and transformers 5 leaves `text_model.` out."""
    component, _, name = module.partition(".")
    return name if component == "unet" else name.removeprefix("text_model.")


def _number(value: float) -> float | int:
    """Whole numbers as PEFT writes them."""
    return int(value) if float(value).is_integer() else value
