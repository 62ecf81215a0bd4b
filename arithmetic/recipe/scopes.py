"""Factors for parts of a network: `{unet.down: 0.5, /attn2/: 1.2, else: 1}` multiplies lambda module by module."""

from collections.abc import Collection
from dataclasses import dataclass

from arithmetic.errors import RecipeError, ScopeMismatch
from arithmetic.recipe.blocks import BlockList
from arithmetic.recipe.selectors import ELSE, Selector, nearest_blocks
from arithmetic.recipe.text import number_text
from formats import Architecture


@dataclass(frozen=True)
class Rule:
    """One factor for the modules that a selector has."""

    selector: Selector
    weight: float

    def __str__(self) -> str:
        return f"{self.selector}: {number_text(self.weight)}"

    def factor(self, module: str, architecture: Architecture) -> float | None:
        """What the rule gives `module`; None where it does not have it."""
        return self.weight if self.selector.selects(module) else None


@dataclass(frozen=True)
class Scope:
    """Rules in the order written, of which the last that has a module wins; `otherwise` is for what no rule has.

    Raises RecipeError for a scope without a rule.
    """

    rules: tuple[Rule | BlockList, ...]
    otherwise: float = 1.0

    def __post_init__(self) -> None:
        if not self.rules:
            raise RecipeError("A scope needs a rule, such as {unet.down: 0.5}. For all modules alike, multiply: 0.5*a.")

    def __str__(self) -> str:
        rest = [] if self.otherwise == 1 else [f"{ELSE}: {number_text(self.otherwise)}"]
        return "{" + ", ".join([*map(str, self.rules), *rest]) + "}"

    def factor(self, module: str, architecture: Architecture) -> float:
        """What lambda is multiplied by in `module`, a bias or a normalisation included.

        Raises:
            ScopeMismatch: a block list that is not made for this architecture.
        """
        found = (rule.factor(module, architecture) for rule in reversed(self.rules))
        return next((factor for factor in found if factor is not None), self.otherwise)

    def require_matches(self, modules: Collection[str], architecture: Architecture) -> None:
        """Every rule has at least one of the adapted `modules`.

        Raises:
            ScopeMismatch: a rule that has none, with the blocks that come nearest to it.
        """
        for rule in self.rules:
            if all(rule.factor(module, architecture) is None for module in modules):
                raise ScopeMismatch(_unmatched(rule, modules))


def _unmatched(rule: Rule | BlockList, modules: Collection[str]) -> str:
    where = f"{{{rule}}}: the rule has none of the {len(modules)} adapted modules."
    if isinstance(rule, BlockList):
        return f"{where} None of them is in a block of the list."
    near = ", ".join(nearest_blocks(rule.selector, modules))
    return f"{where} The nearest blocks that they are in: {near}."
