"""From the tree of a recipe to what it computes: every reference opened, every call the source that it stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias, cast

from arithmetic.errors import AlgebraError, BindingRefused
from arithmetic.methods import METHODS
from arithmetic.recipe import Call, Group, Recipe, Reference, Stage, Sum, Term
from arithmetic.reduction import EnergyKept, ErrorAtMost, RankAtMost, Rule
from arithmetic.sources.anchored import OnBase
from arithmetic.sources.combination import Combination, Scoped, in_table_order
from arithmetic.sources.difference import Difference
from arithmetic.sources.extraction import Extracted, extract
from arithmetic.sources.merged import Merged
from arithmetic.sources.reduced import Reduced
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector
from arithmetic.weights import Weights

Opened: TypeAlias = Vector | Weights
"""What a reference stands for: an adapter, or a base's own weights."""

RULES: Mapping[str, Callable[[Any], Rule]] = {
    "rank": lambda value: RankAtMost(int(value)),
    "energy": lambda value: EnergyKept(float(value)),
    "error": lambda value: ErrorAtMost(float(value)),
}
"""Stage -> the rule of which singular values stay. dtype is how the result is written, not what it is."""


@dataclass(frozen=True)
class Bound:
    """A recipe whose references are open: theta' = sum_i c_i theta_i + tau', sum_i c_i = 1."""

    combination: Combination | None
    """tau'; None where the recipe names bases alone."""
    bases: tuple[tuple[float, Weights], ...]
    """The bases with their coefficients; none where the recipe names none."""


def bind(recipe: Recipe, opened: Mapping[str, Opened], *, base: Weights | None = None, device: str = "cpu") -> Bound:
    """What `recipe` computes.

    Args:
        recipe: the tree.
        opened: reference -> what it stands for, every one of the recipe's.
        base: for `on_base(...)` where the recipe names none.
        device: where ranks are lowered; it must have float64.

    Raises:
        BindingRefused: coefficients of bases that add up to neither 1 nor, inside a vector, 0; a scope on a base; a
            call whose arguments are of the wrong sort.
        ScopeMismatch: a scope's rule that matches no module.
    """
    named = base_of(recipe, opened)
    binder = _Binder(opened, named or base, device)
    terms, bases = binder.split(recipe)
    total = _total(bases)
    if bases and total == 0:
        terms, bases = [*terms, (1.0, Difference(tuple(bases)))], []
    elif bases and total != 1:
        raise BindingRefused(
            f"{recipe}: the coefficients of its bases add up to {total}, expected 1 (a checkpoint) or 0 (a vector). "
            "Write A + ..., 0.5*A + 0.5*B, or A - B."
        )
    if not terms and recipe.stages and binder.rules(recipe.stages):
        raise BindingRefused(f"{recipe}: lowers the rank of a checkpoint; only a vector has one. Leave the stage out.")
    combination = binder.staged(terms, recipe.stages) if terms else None
    return Bound(combination, tuple(bases))


@dataclass(frozen=True)
class _Binder:
    """What the parts of one recipe have in common."""

    opened: Mapping[str, Opened]
    base: Weights | None
    device: str

    def split(self, total: Sum) -> tuple[list[tuple[float, Source]], list[tuple[float, Weights]]]:
        """The vectors and the bases of a sum."""
        terms: list[tuple[float, Source]] = []
        bases: list[tuple[float, Weights]] = []
        for term in total.terms:
            weights = self._base_of(term)
            if weights is None:
                terms.append((term.weight, self._scoped(term)))
            elif term.scopes:
                raise BindingRefused(f"{term}: a scope on a base; scopes are for vectors. Leave it out.")
            else:
                bases.append((term.weight, weights))
        return terms, bases

    def sum(self, total: Sum) -> tuple[float, Source]:
        """A sum that stands for a vector, as lambda and source: a single term keeps its lambda apart."""
        terms, bases = self.split(total)
        if bases:
            terms = [*terms, (1.0, self._difference(total, bases))]
        if not self.rules(total.stages) and len(terms) == 1:
            return terms[0]
        return 1.0, self.staged(terms, total.stages)

    def staged(self, terms: list[tuple[float, Source]], stages: tuple[Stage, ...]) -> Combination:
        """The sum of `terms`, its ranks lowered as the stages say."""
        total = Combination(tuple(terms))
        rules = self.rules(stages)
        return Combination(((1.0, Reduced(total, rules, self.device)),)) if rules else total

    def rules(self, stages: tuple[Stage, ...]) -> tuple[Rule, ...]:
        """What the stages say of ranks."""
        return tuple(RULES[stage.name](stage.arguments[0]) for stage in stages if stage.name in RULES)

    def _base_of(self, term: Term) -> Weights | None:
        found = self.opened[term.atom.text] if isinstance(term.atom, Reference) else None
        return found if isinstance(found, Weights) else None

    def _difference(self, total: Sum, bases: list[tuple[float, Weights]]) -> Difference:
        if _total(bases) != 0:
            raise BindingRefused(
                f"{total}: the coefficients of the bases inside a vector add up to {_total(bases)}, expected 0. "
                "Write a difference, such as extract(tuned - base; rank=64)."
            )
        return Difference(tuple(bases))

    def _scoped(self, term: Term) -> Source:
        source = self._atom(term)
        for scope in term.scopes:
            scope.require_matches(in_table_order(source.architecture, set(source.modules)), source.architecture)
        return Scoped(source, term.scopes) if term.scopes else source

    def _atom(self, term: Term) -> Source:
        match term.atom:
            case Reference(text):
                return cast(Vector, self.opened[text])
            case Group(inner):
                return self.sum(inner)[1]
            case Call("extract", arguments, options):
                return self._extracted(arguments[0], dict(options))
            case Call("on_base", arguments, options):
                return self._on_base(arguments[0], dict(options))
            case Call(name, arguments, options):
                return Merged(METHODS[name], tuple(map(self.sum, arguments)), options)
        raise AlgebraError(f"{term}: is no reference, call or group.")

    def _extracted(self, total: Sum, options: dict[str, Any]) -> Extracted:
        terms, bases = self.split(total)
        if terms or not bases:
            raise BindingRefused(
                f"extract({total}): takes bases alone, such as extract(tuned - base; rank=64). "
                "A vector's rank is lowered by a stage: (a + b | rank(64))."
            )
        return extract(self._difference(total, bases), **options)

    def _on_base(self, total: Sum, options: dict[str, Any]) -> OnBase:
        strength, source = self.sum(total)
        if not isinstance(source, Vector):
            raise BindingRefused(
                f"on_base({total}): takes one vector and its strength, such as on_base(0.8*a; dialect=peft)."
            )
        if self.base is None:
            raise BindingRefused(
                f"on_base({total}): depends on the base's weights. Name one in the recipe, or with --base."
            )
        dialect = cast(Literal["peft", "lycoris", "comfy"], options["dialect"])
        return OnBase(strength, source, dialect, self.base)


def base_of(recipe: Recipe, opened: Mapping[str, Opened]) -> Weights | None:
    """The base that the recipe stands on: the first one of its outermost sum."""
    atoms = (term.atom for term in recipe.terms)
    found = (opened[atom.text] for atom in atoms if isinstance(atom, Reference))
    return next((weights for weights in found if isinstance(weights, Weights)), None)


def _total(bases: list[tuple[float, Weights]]) -> float:
    return float(sum((Decimal(repr(weight)) for weight, _ in bases), Decimal(0)))
