"""The numbers of a recipe that an axis can turn: every term's strength, and every factor of its scopes, by name.

`papercut` is the strength of that term, also inside a method or a group; `papercut{unet.down}`, `papercut{else}` and
`papercut{lbw[3]}` are factors of its scopes; a method is called by its name (`ties`), a group by its text. What would
have the name of another one gets its place behind it: `papercut#2`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import singledispatch
from typing import TYPE_CHECKING, TypeVar

from arithmetic.recipe import BlockList, Call, Group, Reference, Scope, Sum, Term
from workbench.errors import InvalidAxis

if TYPE_CHECKING:
    from arithmetic.recipe import Atom

S = TypeVar("S", bound=Sum)
ELSE = "else"
_PINNED = re.compile(r"(?P<model>[a-z0-9][a-z0-9._-]*)[:@][^{#]+(?P<rest>.*)")


@dataclass(frozen=True)
class Factor:
    """One number of a scope: of its rule at `rule`, of a block list's entry there; of what no rule has for None."""

    scope: int
    rule: int | None = None
    entry: int | None = None


@dataclass(frozen=True)
class Dial:
    """Where a number stands: the terms that lead to it as (argument, term) from the outermost sum, and its factor."""

    path: tuple[tuple[int, int], ...]
    factor: Factor | None = None


def dials_of(recipe: Sum) -> dict[str, Dial]:
    """Name -> dial, of every number that can be turned, in the order written."""
    found: dict[str, Dial] = {}
    for name, dial in _walk(recipe, 0, ()):
        place, free = 2, name
        while free in found:
            free, place = f"{name}#{place}", place + 1
        found[free] = dial
    return found


def find_dial(recipe: Sum, name: str) -> Dial:
    """The dial of that name, or of the only one that a bare model name can mean. Raises InvalidAxis."""
    dials = dials_of(recipe)
    if name in dials:
        return dials[name]
    bare = [dial for full, dial in dials.items() if _bare(full) == name]
    if len(bare) == 1:
        return bare[0]
    near = get_close_matches(name, dials, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(dials)}"
    several = f"{len(bare)} terms are called so" if bare else "no term is called so"
    raise InvalidAxis(f"axis {name!r}: {several} in {recipe}; {hint}")


def turned(recipe: S, dial: Dial, value: float) -> S:
    """The recipe with another number there, and nothing else changed."""
    (_, place), *deeper = dial.path
    term = recipe.terms[place]
    changed = _deeper(term, tuple(deeper), dial.factor, value) if deeper else _set(term, dial.factor, value)
    return replace(recipe, terms=(*recipe.terms[:place], changed, *recipe.terms[place + 1 :]))


def value_at(recipe: Sum, dial: Dial) -> float:
    """The number that stands there now."""
    (_, place), *deeper = dial.path
    term = recipe.terms[place]
    if deeper:
        return value_at(_sums(term.atom)[deeper[0][0]], Dial(tuple(deeper), dial.factor))
    return term.weight if dial.factor is None else _factor(term.scopes[dial.factor.scope], dial.factor)


def _walk(part: Sum, argument: int, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Dial]]:
    for place, term in enumerate(part.terms):
        path = (*above, (argument, place))
        name = term.atom.name if isinstance(term.atom, Call) else str(term.atom)
        yield name, Dial(path)
        for at, scope in enumerate(term.scopes):
            for label, factor in _factors(scope, at).items():
                yield f"{name}{{{label}}}", Dial(path, factor)
        for inner, below in enumerate(_sums(term.atom)):
            yield from _walk(below, inner, path)


def _factors(scope: Scope, at: int) -> Mapping[str, Factor]:
    found: dict[str, Factor] = {}
    for place, rule in enumerate(scope.rules):
        if isinstance(rule, BlockList):
            found |= {f"lbw[{entry}]": Factor(at, place, entry) for entry in range(len(rule.factors))}
        else:
            found[str(rule.selector)] = Factor(at, place)
    return {**found, ELSE: Factor(at)}


@singledispatch
def _sums(atom: "Atom") -> tuple[Sum, ...]:
    """The sums inside an atom."""
    raise TypeError(f"{type(atom).__name__} is no part of a recipe")


@_sums.register
def _(atom: Reference) -> tuple[Sum, ...]:
    return ()


@_sums.register
def _(atom: Call) -> tuple[Sum, ...]:
    return atom.arguments


@_sums.register
def _(atom: Group) -> tuple[Sum, ...]:
    return (atom.sum,)


def _deeper(term: Term, path: tuple[tuple[int, int], ...], factor: Factor | None, value: float) -> Term:
    argument = path[0][0]
    sums = list(_sums(term.atom))
    sums[argument] = turned(sums[argument], Dial(path, factor), value)
    atom = replace(term.atom, arguments=tuple(sums)) if isinstance(term.atom, Call) else Group(sums[0])
    return replace(term, atom=atom)


def _set(term: Term, factor: Factor | None, value: float) -> Term:
    if factor is None:
        return replace(term, weight=value + 0.0)
    scopes = list(term.scopes)
    scopes[factor.scope] = _with_factor(scopes[factor.scope], factor, value)
    return replace(term, scopes=tuple(scopes))


def _with_factor(scope: Scope, factor: Factor, value: float) -> Scope:
    if factor.rule is None:
        return replace(scope, otherwise=value)
    rules = list(scope.rules)
    rule = rules[factor.rule]
    if isinstance(rule, BlockList):
        entries = list(rule.factors)
        entries[factor.entry or 0] = value
        rules[factor.rule] = BlockList(tuple(entries))
    else:
        rules[factor.rule] = replace(rule, weight=value)
    return replace(scope, rules=tuple(rules))


def _factor(scope: Scope, factor: Factor) -> float:
    if factor.rule is None:
        return scope.otherwise
    rule = scope.rules[factor.rule]
    return rule.factors[factor.entry or 0] if isinstance(rule, BlockList) else rule.weight


def _bare(name: str) -> str:
    """`papercut:3{unet.down}` as `papercut{unet.down}`."""
    pinned = _PINNED.fullmatch(name)
    return f"{pinned['model']}{pinned['rest']}" if pinned else name
