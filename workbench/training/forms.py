"""A training as people order it in a form: empty fields left out, guidance scales as w, TOML as settings."""

import tomllib
from collections.abc import Mapping
from typing import Any

from workbench.errors import InvalidSettings

SCALES = {"guidance": "w", "guidance_min": "w_min", "guidance_max": "w_max"}
"""A guidance scale -> the setting that is 1 less."""


def order_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """What `submit_distillation` or `submit_training` takes, out of a form's fields. Raises InvalidSettings.

    `other` is TOML; a setting that has a field of its own and is filled in must not stand there as well.
    `sample_prompts` are lines, without which no strip is painted; `evaluate_every` counts steps between evaluations.
    """
    order = {name: value for name, value in said.items() if value not in (None, "") and name not in SPECIAL}
    order |= {stored: said[scale] - 1 for scale, stored in SCALES.items() if said.get(scale) is not None}
    if prompts := [line.strip() for line in str(said.get("sample_prompts") or "").splitlines() if line.strip()]:
        order |= {"sample_prompts": prompts, "sample_every": said["sample_every"]}
    if said.get("evaluate_every"):
        order["evaluation"] = {"every": said["evaluate_every"]}
    if missing := [name for name in ("base", "data", "name") if name not in order]:
        raise InvalidSettings(f"{', '.join(missing)}: left empty; every training needs a base, pictures and a name")
    return order | _other(str(said.get("other") or ""), order)


SPECIAL = frozenset({*SCALES, "sample_prompts", "sample_every", "evaluate_every", "other"})
"""Fields that are not settings as they stand."""


def _other(text: str, order: Mapping[str, Any]) -> dict[str, Any]:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"other settings: {error}; expected TOML, such as: seed = 7") from error
    if twice := sorted(settings.keys() & order.keys()):
        raise InvalidSettings(f"other settings: {', '.join(twice)} said twice; leave out one of the two")
    return settings
