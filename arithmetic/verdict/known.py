"""What a registry knows of the vectors of a sum, and no file tells."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from arithmetic.errors import AlgebraError

Role = Literal["base", "acceleration", "style", "composition", "other"]
"""What a vector is for."""


@dataclass(frozen=True)
class SamplingProfile:
    """How a vector wants to be sampled; None where it does not say."""

    solver: str | None = None
    steps: tuple[int, ...] | None = None
    """The step counts that it was made for."""
    guidance: tuple[float, float] | None = None
    """The guidance scales that it bears, both ends included."""
    convention: str | None = None
    """How guidance is counted: `diffusers` (1 is none) or `w` (0 is none)."""
    spacing: str | None = None
    """Of the timesteps: trailing, leading, linspace."""
    eta: float | None = None
    original_inference_steps: int | None = None
    timesteps: tuple[int, ...] | None = None

    @property
    def guidance_scales(self) -> tuple[float, float] | None:
        """The guidance as diffusers counts it, where 1 is none: w of the other convention is one less."""
        if self.guidance is None:
            return None
        low, high = self.guidance
        return (low + 1, high + 1) if self.convention == "w" else (low, high)

    @classmethod
    def from_json(cls, said: Mapping[str, Any], where: str) -> "SamplingProfile":
        """A version's sampling profile as a registry keeps it; keys that mean nothing here are left to others.

        Raises AlgebraError for a value of another kind than its key's.
        """
        return cls(
            solver=_text(said, "solver", where),
            steps=_counts(said, "steps", where),
            guidance=_range(said, "guidance", where),
            convention=_text(said, "convention", where),
            spacing=_text(said, "timestep_spacing", where),
            eta=_number(said, "eta", where),
            original_inference_steps=(_counts(said, "original_inference_steps", where) or (None,))[0],
            timesteps=_counts(said, "timesteps", where),
        )


@dataclass(frozen=True)
class Dossier:
    """What a registry knows of one vector, or of the base; `name` is how the sum calls it."""

    name: str
    role: Role = "other"
    prediction_type: str | None = None
    prediction_confidence: float = 1.0
    """How sure the prediction type is: a guess by the family is 0.8 at most."""
    trigger_words: tuple[str, ...] = ()
    profile: SamplingProfile = SamplingProfile()


@dataclass(frozen=True)
class SamplingSettings:
    """How the sum is going to be sampled."""

    solver: str
    steps: int
    guidance: float
    """1 is none."""
    spacing: str | None = None
    """None, here and below: left to the solver, and not judged."""
    eta: float | None = None
    original_inference_steps: int | None = None
    timesteps: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Known:
    """All that is known beside the files."""

    vectors: tuple[Dossier, ...] = ()
    base: Dossier | None = None
    license_conflicts: tuple[str, ...] = ()
    """What the licences forbid of a sum of these vectors, one sentence each."""
    settings: SamplingSettings | None = None

    @property
    def accelerations(self) -> tuple[str, ...]:
        """The names of the acceleration vectors."""
        return tuple(dossier.name for dossier in self.vectors if dossier.role == "acceleration")


NOTHING_KNOWN = Known()


def _text(said: Mapping[str, Any], key: str, where: str) -> str | None:
    value = said.get(key)
    if value is None or isinstance(value, str):
        return value
    raise _unreadable(where, key, value, "a word")


def _number(said: Mapping[str, Any], key: str, where: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _unreadable(where, key, value, "a number")


def _counts(said: Mapping[str, Any], key: str, where: str) -> tuple[int, ...] | None:
    """One whole number or a list of them."""
    value = said.get(key)
    if value is None:
        return None
    listed = [value] if isinstance(value, int) else value
    if _is_list(listed) and listed and all(type(one) is int and one >= 0 for one in listed):
        return tuple(listed)
    raise _unreadable(where, key, value, "whole numbers")


def _range(said: Mapping[str, Any], key: str, where: str) -> tuple[float, float] | None:
    """One number, or the least and the largest."""
    value = said.get(key)
    if value is None:
        return None
    ends = value if _is_list(value) else [value, value]
    if len(ends) == 2 and all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
        low, high = map(float, ends)
        if low <= high:
            return low, high
    raise _unreadable(where, key, value, "a number, or the least and the largest")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _unreadable(where: str, key: str, value: object, expected: str) -> AlgebraError:
    return AlgebraError(f"{where}: sampling profile: {key} is {value!r:.60}, expected {expected}. Edit its profile.")
