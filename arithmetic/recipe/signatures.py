"""What each method that a recipe can call takes: how many sums, and which options of which kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["float", "int", "bool", "choice"]


@dataclass(frozen=True)
class OptionSignature:
    """One option of a method."""

    kind: Kind
    choices: tuple[str, ...] = ()
    """The words of a choice."""
    required: bool = False

    @property
    def expected(self) -> str:
        """In words, for a message."""
        words = {"float": "a number", "int": "a whole number", "bool": "true or false"}
        return words.get(self.kind) or f"one of {', '.join(self.choices)}"


@dataclass(frozen=True)
class Signature:
    """One method: its least and largest number of arguments (None: any), and its options by name."""

    arguments: tuple[int, int | None] = (1, None)
    options: Mapping[str, OptionSignature] = field(default_factory=dict)


_DENSITY = OptionSignature("float")
_SEED = OptionSignature("int")

SIGNATURES: Mapping[str, Signature] = {
    "ties": Signature(
        options={
            "density": _DENSITY,
            "dialect": OptionSignature("choice", ("peft", "mergekit", "mecha")),
            "seed": _SEED,
        }
    ),
    "dare": Signature(options={"density": _DENSITY, "seed": _SEED}),
    "extract": Signature((1, 1), {"rank": OptionSignature("int", required=True), "seed": _SEED}),
    "on_base": Signature((1, 1), {"dialect": OptionSignature("choice", ("peft", "lycoris", "comfy"), required=True)}),
}
"""The methods by name."""
