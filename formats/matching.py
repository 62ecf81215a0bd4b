"""A file's stems looked up in many module tables at once: a module votes for each table that has its name and shape.

Of a thousand modules a few dozen differ in what their tensors are, so shapes are compared once a sort; and tables that
agree on a module share its place in one dictionary. That makes six tables as quick as one.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from formats.architecture import Architecture
from formats.header import Header
from formats.marks import Marks
from formats.shapes import Shape, Shapes, contradiction, implied_shape
from formats.spellings import Layout, Spelling, layouts_of, stem_index, stems
from formats.variants import variant_modules

Signature = tuple[tuple[str, str, Shape], ...]
"""What one module's tensors are, in the order of the file: (role, dtype, shape) each."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A module whose tensors do not fit the table: `got` is the implied shape, or why there is none."""

    module: str
    expected: tuple[int, ...]
    got: tuple[int, ...] | str


@dataclass(frozen=True, slots=True)
class Match:
    """The stems of a file that the table explains, and what it does not."""

    spelled: Mapping[str, Spelling]
    misfits: tuple[Misfit, ...]
    unknown_stems: tuple[str, ...]

    @property
    def modules(self) -> list[str]:
        """The modules that are spelled."""
        return [spelling.module for spelling in self.spelled.values()]


class Place(NamedTuple):
    """A module that a stem may spell, and a bit for each table that has it. Where set, `variant` alone has it."""

    spelling: Spelling
    tables: int
    variant: str | None


@dataclass
class Sort:
    """Modules whose tensors are alike: how many, and what was found when they were compared with weights' shapes."""

    tensors: Signature
    count: int = 0
    verdicts: dict[Shape, Shape | str | None] = field(default_factory=dict)

    @cached_property
    def shapes(self) -> Shapes:
        """Role -> shape."""
        return {role: shape for role, _, shape in self.tensors}

    def against(self, expected: Shape) -> Shape | str | None:
        """What contradicts a weight of shape `expected`; None where it fits."""
        if expected not in self.verdicts:
            self.verdicts[expected] = contradiction(self.shapes, expected)
        return self.verdicts[expected]


@dataclass(frozen=True)
class Tally:
    """How many modules of a file a table explains, contradicts, and does not name; `variants` are those it needs."""

    explained: int
    contradicted: int
    unnamed: int
    variants: tuple[str, ...]

    @property
    def share(self) -> float:
        """The explained part of all modules."""
        total = self.explained + self.contradicted + self.unnamed
        return self.explained / total if total else 0.0


class Ballot:
    """The votes of all modules of one file over `tables`."""

    def __init__(self, marks: Marks, header: Header, tables: tuple[Architecture, ...]) -> None:
        self.tables = tables
        self.sorts: dict[Signature, Sort] = {}
        self._stems = [(stem, self._sort(roles, header)) for stem, roles in marks.pieces.items()]
        self._dictionaries = tuple(dictionary(tables, layout) for layout in layouts_of(marks.pieces))

    def _sort(self, roles: Mapping[str, str], header: Header) -> Sort:
        signature = tuple([(role, *header.tensors[key][:2]) for role, key in roles.items()])
        sort = self.sorts.get(signature)
        if sort is None:
            sort = self.sorts[signature] = Sort(signature)
        sort.count += 1
        return sort

    def _places(self, stem: str) -> tuple[Place, ...]:
        """What the stem may spell, in the first layout that has it."""
        for known in self._dictionaries:
            places = known.get(stem)
            if places is not None:
                return places
        return ()

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """One tally a table."""
        votes: Counter[tuple[int, int]] = Counter()
        borrowed: dict[str, int] = {}
        for stem, sort in self._stems:
            fitting = named = 0
            for spelling, tables, variant in self._places(stem):
                named |= tables
                if sort.against(spelling.shape) is None:
                    if variant is not None and tables & ~fitting:
                        borrowed[variant] = borrowed.get(variant, 0) | tables & ~fitting
                    fitting |= tables
            votes[fitting, named & ~fitting] += 1
        return tuple(self._tally(1 << number, votes, borrowed) for number in range(len(self.tables)))

    def _tally(self, table: int, votes: Mapping[tuple[int, int], int], borrowed: Mapping[str, int]) -> Tally:
        explained = sum(count for (fitting, _), count in votes.items() if fitting & table)
        contradicted = sum(count for (_, misfit), count in votes.items() if misfit & table)
        variants = tuple(name for name, tables in borrowed.items() if tables & table)
        return Tally(explained, contradicted, len(self._stems) - explained - contradicted, variants)

    def contradictory(self) -> str | None:
        """The first module whose tensors contradict one another, whatever weight they are for."""
        for stem, sort in self._stems:
            try:
                implied_shape(sort.shapes)
            except ValueError as error:
                return f"{stem}: {error}"
        return None

    def match(self, number: int) -> Match:
        """Which modules of the table of that number the stems spell, variants apart. A module counts once."""
        table = 1 << number
        spelled: dict[str, Spelling] = {}
        misfits: list[Misfit] = []
        unknown: list[str] = []
        taken: set[str] = set()
        for stem, sort in self._stems:
            first: Misfit | None = None
            for spelling, tables, variant in self._places(stem):
                if not tables & table or variant is not None or spelling.module in taken:
                    continue
                got = sort.against(spelling.shape)
                if got is None:
                    spelled[stem] = spelling
                    taken.add(spelling.module)
                    break
                first = first or Misfit(spelling.module, spelling.shape, got)
            else:
                if first is not None:
                    misfits.append(first)
                else:
                    unknown.append(stem)
        return Match(spelled, tuple(misfits), tuple(unknown))


@lru_cache(maxsize=3 * len(Layout))
def dictionary(tables: tuple[Architecture, ...], layout: Layout) -> Mapping[str, tuple[Place, ...]]:
    """Every stem of `layout` with the modules of `tables` that it may spell, those of variants last."""
    found: dict[str, dict[tuple[Spelling, str | None], int]] = {}
    for number, table in enumerate(tables):
        for stem, spellings in stem_index(table, layout).items():
            known = found.setdefault(stem, {})
            for spelling in spellings:
                known[spelling, None] = known.get((spelling, None), 0) | 1 << number
    for number, table in enumerate(tables):
        for stem, spelling, variant in _variant_stems(table, layout):
            known = found.setdefault(stem, {})
            known[spelling, variant] = known.get((spelling, variant), 0) | 1 << number
    return {
        stem: tuple(Place(spelling, mask, variant) for (spelling, variant), mask in known.items())
        for stem, known in found.items()
    }


def _variant_stems(table: Architecture, layout: Layout) -> list[tuple[str, Spelling, str]]:
    return [
        (stem, Spelling(layout, module, shape), variant)
        for variant, module, shape in variant_modules(table)
        for stem in stems(layout, module, table)
    ]
