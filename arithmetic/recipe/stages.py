"""What is done to a sum after it is formed: `| rank(64)`, `| energy(0.99)`, `| error(0.01)`, `| dtype(fp16)`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arithmetic.errors import RecipeError
from arithmetic.recipe.text import unknown, value_text

PRECISIONS = ("fp32", "fp16", "bf16")

Argument = float | int | str


@dataclass(frozen=True)
class Stage:
    """One stage. Raises RecipeError for a name that is none of STAGES and for an argument out of its range."""

    name: str
    arguments: tuple[Argument, ...]

    def __post_init__(self) -> None:
        if self.name not in STAGES:
            raise RecipeError(unknown("stage", self.name, STAGES))
        expected, accepts = STAGES[self.name]
        if len(self.arguments) != 1 or not accepts(self.arguments[0]):
            got = ", ".join(map(value_text, self.arguments)) or "nothing"
            raise RecipeError(f"{self.name} takes {expected}, got {got}.")

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(value_text, self.arguments))})"


def _is_number(argument: Argument) -> bool:
    return isinstance(argument, int | float) and not isinstance(argument, bool)


def _is_rank(argument: Argument) -> bool:
    return isinstance(argument, int) and not isinstance(argument, bool) and argument >= 1


def _is_energy(argument: Argument) -> bool:
    return _is_number(argument) and 0 < float(argument) <= 1


def _is_error(argument: Argument) -> bool:
    return _is_number(argument) and 0 <= float(argument) < 1


def _is_precision(argument: Argument) -> bool:
    return argument in PRECISIONS


STAGES: Mapping[str, tuple[str, Callable[[Argument], bool]]] = {
    "rank": ("one whole number from 1", _is_rank),
    "energy": ("one number above 0 and up to 1", _is_energy),
    "error": ("one number from 0 and below 1", _is_error),
    "dtype": (f"one of {', '.join(PRECISIONS)}", _is_precision),
}
"""Stage -> what it takes, and whether an argument is that: the largest rank of a module, the share of its squared norm
that is kept, the largest relative error, the precision of the file."""
