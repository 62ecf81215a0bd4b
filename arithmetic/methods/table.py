"""Every merge method by name: what it takes, in which space it works, what its options mean."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import torch
from torch import Tensor

from arithmetic.deltas import LowRank
from arithmetic.errors import MethodRefused
from arithmetic.methods.consensus import Consensus
from arithmetic.methods.core import CoreMerge, core
from arithmetic.methods.dare import DareDialect, dare
from arithmetic.methods.della import DellaDialect, della
from arithmetic.methods.iso import iso
from arithmetic.methods.knots import knots
from arithmetic.methods.magnitude import magnitude
from arithmetic.methods.projection import project
from arithmetic.methods.ties import TiesDialect, ties
from arithmetic.methods.tool_sums import DIALECTS, SUMS
from arithmetic.methods.tsv import tsv
from arithmetic.randomness import generator_for

Option = float | int | str | bool
SEED = "seed"


class Space(StrEnum):
    """What a method is handed."""

    DENSE = "dense"
    """the deltas, (m, N) each"""
    CORE = "core"
    """the deltas, or their matrices in two shared orthonormal bases: the result is the same in either"""
    FACTORS = "factors"
    """the low-rank factors themselves"""


@dataclass(frozen=True)
class OptionSpec:
    """One option: its default, whose type is the option's, and what it may be."""

    default: Option
    meaning: str
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf

    def checked(self, where: str, value: Option) -> Option:
        """`value` in the option's type.

        Raises:
            MethodRefused: it is of another type, no choice, or out of range.
        """
        if isinstance(self.default, str):
            if value not in self.choices:
                raise MethodRefused(f"{where} is {value!r}, expected one of {', '.join(self.choices)}.")
            return value
        if not isinstance(value, int | float) or isinstance(value, bool) or not self._holds(value):
            raise MethodRefused(f"{where} is {value!r}, expected {self._range()}.")
        return float(value) if isinstance(self.default, float) else int(value)

    def _holds(self, value: float) -> bool:
        is_whole = not isinstance(self.default, int) or float(value).is_integer()
        return is_whole and self.above < value <= self.most and value >= self.least

    def _range(self) -> str:
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        bounds = ((self.above, "above"), (self.least, "of at least"), (self.most, "of at most"))
        return " and ".join([kind, *(f"{word} {bound:g}" for bound, word in bounds if math.isfinite(bound))])


@dataclass(frozen=True)
class Method:
    """A merge method. `apply` is called as its space says:

    dense, core: apply(deltas, weights, *, generator, **options) -> Tensor (m, N)
    factors:     apply(parts) -> LowRank, for parts of (weight, LowRank)

    Where `roles` are named, every argument must be handed in its place, as zeros for a module that it does not have;
    elsewhere such an argument is left out.
    """

    name: str
    title: str
    space: Space
    apply: Callable[..., Tensor | LowRank]
    own_options: Mapping[str, OptionSpec] = field(default_factory=dict)
    is_random: bool = False
    arguments: tuple[int, int | None] = (1, None)
    roles: tuple[str, ...] = ()

    @property
    def options(self) -> Mapping[str, OptionSpec]:
        """Its own, and the seed of every method on matrices."""
        return self.own_options if self.space is Space.FACTORS else {**self.own_options, SEED: _SEED}

    def settings(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Every option of the method, checked, defaults filled in.

        Raises:
            MethodRefused: an option that it does not have, or a value that the option cannot take.
        """
        for name in options:
            if name not in self.options:
                raise MethodRefused(f"{self.name}: {_unknown('option', name, self.options)}")
        return {
            name: spec.checked(f"{self.name}: {name}", options.get(name, spec.default))
            for name, spec in self.options.items()
        }

    def require_arguments(self, count: int) -> None:
        """Raise MethodRefused unless the method takes `count` arguments."""
        least, most = self.arguments
        if count < least or (most is not None and count > most):
            expected = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
            roles = f" ({', '.join(self.roles)})" if self.roles else ""
            raise MethodRefused(f"{self.name}: it has {count} arguments, expected {expected}{roles}.")


def merged(
    method: Method,
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    module: str,
    options: Mapping[str, Option] = MappingProxyType({}),
) -> Tensor:
    """One module by a dense or core method; its random numbers follow from the option `seed` and the module's name.

    Args:
        deltas: (m, N) each, float64.
        weights: one for each delta.

    Returns:
        (m, N).

    Raises:
        MethodRefused: a method that sums factors, an option that it does not take, or too few or many arguments.
    """
    method.require_arguments(len(deltas))
    settings = method.settings(options)
    generator = generator_for(int(settings.pop(SEED, 0)), module)
    result = method.apply(deltas, weights, generator=generator, **settings) if method.space != Space.FACTORS else None
    if not isinstance(result, Tensor):
        raise MethodRefused(f"{method.name}: it sums factors, and was handed matrices. Call its apply(parts).")
    return result


def method_of(name: str) -> Method:
    """The method of that name.

    Raises:
        MethodRefused: there is none; the message names the nearest.
    """
    if name not in METHODS:
        raise MethodRefused(_unknown("method", name, METHODS))
    return METHODS[name]


def _unknown(what: str, name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"there is no {what} {name!r}. {hint}Known: {', '.join(sorted(known)) or 'none'}."


def _seedless(merge: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method without random numbers, called as those with them are."""

    def apply(
        deltas: Sequence[Tensor], weights: Sequence[float], *, generator: torch.Generator, **options: Option
    ) -> Tensor:
        return merge(deltas, weights, **options)

    return apply


def _density(default: float, meaning: str) -> OptionSpec:
    return OptionSpec(default, meaning, above=0, most=1)


def _choice(default: StrEnum, meaning: str) -> OptionSpec:
    return OptionSpec(default.value, meaning, choices=tuple(type(default)))


_SEED = OptionSpec(
    0,
    "of the random numbers, of which each module draws its own; methods without any take it too, to be exchangeable",
    least=0,
    most=2**63 - 1,
)
_TRIM = _density(0.2, "the share of entries that stay, the largest ones")
_DROP = _density(0.5, "the probability that an entry stays")
_CONSENSUS = "sum what stays, or elect a sign for every entry"
_WHOSE = "whose formula"

_DENSE = (
    Method("magnitude", "magnitude pruning", Space.DENSE, _seedless(magnitude), {"density": _TRIM}),
    Method(
        "ties",
        "TIES: trim, elect, average",
        Space.DENSE,
        _seedless(ties),
        {"density": _TRIM, "dialect": _choice(TiesDialect.PEFT, _WHOSE)},
    ),
    Method(
        "dare",
        "DARE: drop and rescale",
        Space.DENSE,
        dare,
        {
            "density": _DROP,
            "dialect": _choice(DareDialect.PEFT, _WHOSE),
            "consensus": _choice(Consensus.LINEAR, _CONSENSUS),
        },
        is_random=True,
    ),
    Method(
        "della",
        "DELLA: drop by magnitude and rescale",
        Space.DENSE,
        della,
        {
            "density": _DROP,
            "epsilon": OptionSpec(0.15, "half the width of the window of probabilities", least=0, most=0.5),
            "dialect": _choice(DellaDialect.PAPER, _WHOSE),
            "consensus": _choice(Consensus.TIES, _CONSENSUS),
        },
        is_random=True,
    ),
    Method(
        "knots",
        "KnOTS: merge in joint singular vectors",
        Space.DENSE,
        _seedless(knots),
        {"merge": _choice(Consensus.TIES, "what is done with the components"), "density": _TRIM},
    ),
)
_CORE = (
    Method("tsv", "TSV-M: orthogonal task singular vectors", Space.CORE, _seedless(tsv)),
    Method("iso", "Iso-C: isotropic merging", Space.CORE, _seedless(iso)),
    Method(
        "project",
        "projection out of the acceleration vector's leading subspace",
        Space.CORE,
        _seedless(project),
        {"k": OptionSpec(8, "how many of the acceleration's singular directions", least=1)},
        arguments=(2, 2),
        roles=("style", "acceleration"),
    ),
    Method(
        "core",
        "an entrywise method in Core Space",
        Space.CORE,
        core,
        {
            "merge": _choice(CoreMerge.TIES, "what is done with the cores"),
            "density": _density(0.5, "the share of a core's entries that stay"),
        },
        is_random=True,
    ),
)
_FACTORS = tuple(Method(dialect.name, dialect.title, Space.FACTORS, SUMS[dialect.name]) for dialect in DIALECTS)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in (*_DENSE, *_CORE, *_FACTORS)})
