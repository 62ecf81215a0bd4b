"""What each call in a recipe takes: how many sums, and which options of which kind."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from arithmetic.methods import METHODS, Method, OptionSpec
from arithmetic.recipe.text import number_text

Kind = Literal["float", "int", "bool", "choice"]

IN_WORDS: Mapping[Kind, str] = {"float": "a number", "int": "a whole number", "bool": "true or false"}


@dataclass(frozen=True)
class OptionSignature:
    """One option; a choice is one of its words, a number is in `least` <= it <= `most` and beyond `above`."""

    kind: Kind
    choices: tuple[str, ...] = ()
    required: bool = False
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf

    @property
    def expected(self) -> str:
        """In words: `a number above 0 and of at most 1`."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        bounds = (("above", self.above), ("of at least", self.least), ("of at most", self.most))
        limits = (f"{word} {number_text(bound)}" for word, bound in bounds if math.isfinite(bound))
        return f"{IN_WORDS[self.kind]} {' and '.join(limits)}".rstrip()

    def holds(self, number: float) -> bool:
        """Whether a number is within the bounds."""
        return self.above < number <= self.most and self.least <= number


@dataclass(frozen=True)
class Signature:
    """One call: its least and largest number of arguments (None: any), and its options by name."""

    arguments: tuple[int, int | None] = (1, None)
    options: Mapping[str, OptionSignature] = field(default_factory=dict)


def signature_of(method: Method) -> Signature:
    """What a merge method takes; all its options have defaults."""
    return Signature(method.arguments, {name: _option(spec) for name, spec in method.options.items()})


def _option(spec: OptionSpec) -> OptionSignature:
    kinds: Mapping[type, Kind] = {bool: "bool", int: "int", float: "float", str: "choice"}
    return OptionSignature(kinds[type(spec.default)], spec.choices, least=spec.least, above=spec.above, most=spec.most)


SIGNATURES: Mapping[str, Signature] = {
    **{name: signature_of(method) for name, method in METHODS.items()},
    "extract": Signature(
        (1, 1),
        {
            "rank": OptionSignature("int", least=1),
            "energy": OptionSignature("float", above=0, most=1),
            "error": OptionSignature("float", above=0, most=1),
            "oversampling": OptionSignature("int", least=0),
            "power_iterations": OptionSignature("int", least=0),
            "channels": OptionSignature("bool"),
            "seed": OptionSignature("int", least=0),
        },
    ),
    "on_base": Signature((1, 1), {"dialect": OptionSignature("choice", ("peft", "lycoris", "comfy"), required=True)}),
}
"""The merge methods; `extract`, a low-rank difference of bases; `on_base`, what changes with the base it is put on."""
