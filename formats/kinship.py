"""The family of a whole model: the module table that it repeats, up to a known variant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from formats.architecture import Architecture, component_of
from formats.findings import UNKNOWN, Finding, nothing
from formats.variants import STANDARD, variants_between

ALL_MODULES = 1.0
SOME_COMPONENTS = 0.95
INCOMPLETE = 0.7
NONE_FITS = 0.05

RECOGNISED = 0.8
"""The share of a family's modules that an incomplete base must have to be called a broken one of that family."""

Shapes = Mapping[str, tuple[int, ...]]
"""Module -> shape of its weight."""


@dataclass(frozen=True)
class Kin:
    """The family of a base: `table` is None when it is unknown; `broken` says what a recognised base lacks."""

    family: Finding
    table: Architecture | None
    variant: Finding
    broken: str | None = None

    @property
    def architecture(self) -> str | None:
        """The name of the table, where the base has all its modules."""
        return self.table.name if self.table is not None and self.broken is None else None


@dataclass(frozen=True)
class Likeness:
    """A base compared with one table, in the components that it has."""

    table: Architecture
    own: Shapes
    others: Shapes
    variants: Mapping[str, str]
    unexplained: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The unexplained modules that the base does not have at all."""
        return tuple(module for module in self.unexplained if module not in self.own)


def kin_of(own_by: Callable[[Architecture], Shapes], tables: Sequence[Architecture]) -> Kin:
    """The first table that a base repeats; `own_by` gives the base's modules under the names of a table.

    Where none is repeated, a base that merely lacks modules of its nearest table is a broken one of that family, and
    any other difference makes it unknown.
    """
    likenesses = [_compare(own_by(table), table) for table in tables]
    same = next((one for one in likenesses if one.others and not one.unexplained), None)
    if same is not None:
        return Kin(_family(same), same.table, _variant(same))
    if not likenesses:
        return _unknown("no architecture to compare with")
    nearest = min(likenesses, key=lambda one: len(one.unexplained))
    if not nearest.unexplained:
        return _unknown("none of its components is a known architecture's")
    sentence = (
        f"its table of {len(nearest.own)} modules is none of {', '.join(table.name for table in tables)}: nearest is "
        f"{nearest.table.name} with {len(nearest.unexplained)} modules that differ, first {nearest.unexplained[0]}"
    )
    if len(nearest.missing) < len(nearest.unexplained) or len(nearest.missing) > (1 - RECOGNISED) * len(nearest.others):
        return _unknown(sentence)
    lacks = f"it lacks {len(nearest.missing)} of {len(nearest.others)} modules, first {nearest.missing[0]}"
    broken = f"recognised as {nearest.table.name}, but broken: {lacks}"
    return Kin(Finding(nearest.table.name, INCOMPLETE, (sentence,)), nearest.table, _variant(nearest), broken)


def _compare(own: Shapes, table: Architecture) -> Likeness:
    components = {component_of(module) for module in own}
    others = {name: spec.shape for name, spec in table.modules.items() if component_of(name) in components}
    return Likeness(table, own, others, *variants_between(own, others))


def _family(same: Likeness) -> Finding:
    components = {component_of(module) for module in same.own}
    absent = [component for component in same.table.components if component not in components]
    sentence = f"its {len(same.own)} modules and their shapes are exactly {same.table.name}'s"
    if same.variants:
        sentence += f", but for what makes it {' and '.join(sorted(same.variants))}"
    if not absent:
        return Finding(same.table.name, ALL_MODULES, (sentence,))
    return Finding(same.table.name, SOME_COMPONENTS, (sentence, f"{' and '.join(absent)} could not be compared"))


def _variant(one: Likeness) -> Finding:
    if not one.variants:
        return Finding(STANDARD, 1.0, (f"every module has the shape of {one.table.name}'s own",))
    return Finding("+".join(sorted(one.variants)), 1.0, tuple(sorted(set(one.variants.values()))))


def _unknown(sentence: str) -> Kin:
    return Kin(Finding(UNKNOWN, NONE_FITS, (sentence,)), None, nothing("no family to compare with"))
