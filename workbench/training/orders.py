"""What a training job is told: its spec, the form that it has, and the settings of that form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.errors import InvalidSettings

if TYPE_CHECKING:
    from pydantic import BaseModel

    from distill_jobs import TrainingSettings

S = TypeVar("S", bound="BaseModel")

RESULT_KINDS = {"lcd-lora": "acceleration", "lcd": "base", "lcf": "base", "lcf-lora": "style", "style": "style"}
"""Form of job -> the kind of its result."""

OWN_KEYS = ("base", "data", "fingerprint", "name", "draft")
"""What a spec says beside the settings."""

OF_THE_DATA = ("reading", "data_license")
"""What a spec may say of its data: how it is read, and the licence that it is under."""


@dataclass(frozen=True)
class Order:
    """What every training is told: the base, the data and their fingerprint, the result's name, the settings."""

    base: str
    data: str
    fingerprint: str
    name: str
    draft: bool
    settings: dict[str, Any]
    reading: Mapping[str, Any] = field(default_factory=dict)
    data_license: str | None = None
    acceleration: str | None = None
    """The vector beside which a style is fine-tuned."""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Order":
        """The order in a job's spec. Raises InvalidSettings when a key is missing."""
        if missing := [key for key in OWN_KEYS if key not in spec]:
            raise InvalidSettings(f"the job's spec lacks {', '.join(missing)}; submit it with tau distill or tau train")
        own = {key: spec[key] for key in (*OWN_KEYS, *OF_THE_DATA, "acceleration") if key in spec}
        return cls(**own, settings={key: value for key, value in spec.items() if key not in own})

    def spec(self) -> dict[str, Any]:
        """The job's spec."""
        said = {key: getattr(self, key) for key in (*OF_THE_DATA, "acceleration") if getattr(self, key)}
        return {key: getattr(self, key) for key in OWN_KEYS} | said | self.settings


def form_of(kind: str, acceleration: str | None) -> str:
    """Which settings and results a job has: those of its kind, of lcf with an acceleration vector those of lcf-lora.

    Raises InvalidSettings for an acceleration vector that a kind has no use for.
    """
    if acceleration is None:
        return kind
    if kind != "lcf":
        raise InvalidSettings(f"acceleration: {kind} trains beside no other vector; leave it out")
    return "lcf-lora"


def settings_of(form: str, values: Mapping[str, Any]) -> "TrainingSettings":
    """The checked settings of a form of job. Raises InvalidSettings, which names each wrong one."""
    from distill_jobs import LcdLoraSettings, LcdSettings, LcfLoraSettings, LcfSettings, StyleSettings

    forms: dict[str, type[TrainingSettings]] = {
        "lcd-lora": LcdLoraSettings,
        "lcd": LcdSettings,
        "lcf": LcfSettings,
        "lcf-lora": LcfLoraSettings,
        "style": StyleSettings,
    }
    return checked(forms[form], values)


def checked(settings: "type[S]", values: Mapping[str, Any]) -> "S":
    """`values` as these settings. Raises InvalidSettings, which names each wrong one."""
    from pydantic import ValidationError

    try:
        return settings(**values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors())
        raise InvalidSettings(wrong) from error
