"""A composition is a text: `0.8*papercut + 1.0*lcm-sd15:2 - 0.3*blur | dtype(fp16)`."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from arithmetic.errors import RecipeSyntaxError
from arithmetic.grammar import StageCall, terms_and_stages

PRECISIONS = ("fp32", "fp16", "bf16")
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*(:[a-z0-9]+|@[a-z0-9][a-z0-9._-]*)?|(\.{0,2}|~)/[^\s*|(){},;\"']+")
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Term:
    """One weighted reference; the weight is the lambda of tau' = sum_i lambda_i tau_i."""

    weight: float
    reference: str


@dataclass(frozen=True)
class Stage:
    """What is done to the sum, such as dtype(fp16)."""

    name: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"


@dataclass(frozen=True)
class Recipe:
    """A signed sum of references in the order typed, then stages; `str` gives its canonical text."""

    terms: tuple[Term, ...]
    stages: tuple[Stage, ...] = ()

    def __str__(self) -> str:
        first, *rest = self.terms
        text = ("-" if first.weight < 0 else "") + _magnitude(first)
        text += "".join(f" {'-' if term.weight < 0 else '+'} {_magnitude(term)}" for term in rest)
        return text + "".join(f" | {stage}" for stage in self.stages)

    @property
    def dtype(self) -> str:
        """The precision that the recipe asks for: fp32 unless a stage says otherwise."""
        return next((stage.arguments[0] for stage in self.stages if stage.name == "dtype"), "fp32")

    def lock(self, resolve: Callable[[str], str]) -> "Recipe":
        """The same recipe with every reference replaced by what `resolve` returns for it (sha256:...)."""
        return replace(self, terms=tuple(Term(term.weight, resolve(term.reference)) for term in self.terms))


def parse(text: str) -> Recipe:
    """Read a recipe; parentheses are multiplied out exactly (0.1*(3*a) is 0.3*a) and `parse(str(r)) == r`.

    Raises:
        RecipeSyntaxError: with the place and a caret.
    """
    terms, calls = terms_and_stages(text)
    stages = tuple(_stage(text, call) for call in calls)
    if len(stages) > 1:
        raise RecipeSyntaxError(text, calls[1].position, "dtype is given twice; keep one.")
    return Recipe(tuple(Term(float(term.weight) + 0.0, term.reference) for term in terms), stages)


def _stage(text: str, call: StageCall) -> Stage:
    if call.name != "dtype":
        raise RecipeSyntaxError(text, call.position, f"There is no stage {call.name!r} here; the one there is: dtype.")
    if len(call.arguments) != 1 or call.arguments[0] not in PRECISIONS:
        got = ", ".join(call.arguments) or "nothing"
        raise RecipeSyntaxError(text, call.position, f"dtype takes one of {', '.join(PRECISIONS)}, got {got}.")
    return Stage(call.name, call.arguments)


def _magnitude(term: Term) -> str:
    weight = abs(term.weight)
    reference = term.reference
    if not _PLAIN.fullmatch(reference) or _NUMBER.fullmatch(reference):
        reference = json.dumps(reference, ensure_ascii=False)
    return reference if weight == 1 else f"{repr(weight).removesuffix('.0')}*{reference}"
