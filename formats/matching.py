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
from formats.spellings import KOHYA_OFT, KOHYA_PREFIXES, Layout, Spelling, layouts_of, stem_index, stems
from formats.variants import variant_modules

Signature = tuple[tuple[str, str, Shape], ...]
"""What one module's tensors are, in the order of the file: (role, dtype, shape) each."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A module whose tensors do not fit the table: `got` is the implied shape, or why there is none."""

    module: str
    expected: tuple[int, ...]
    got: tuple[int, ...] | str


@dataclass(frozen=True)
class Match:
    """The stems of a file that the table explains, and what it does not."""

    spelled: Mapping[str, Spelling]
    misfits: tuple[Misfit, ...]
    unknown_stems: tuple[str, ...]

    @property
    def modules(self) -> list[str]:
        """The modules that are spelled."""
        return [spelling.module for spelling in self.spelled.values()]

    @cached_property
    def layouts(self) -> Counter[Layout]:
        """How many modules each layout spells; the U-Net's count, since kohya's two dialects agree on text encoders."""
        of_unet = Counter([s.layout for s in self.spelled.values() if s.module.startswith("unet.")])
        return of_unet or Counter(spelling.layout for spelling in self.spelled.values())


class Place(NamedTuple):
    """A module that a stem may spell, and a bit for each table that has it. Where set, `variant` alone has it."""

    spelling: Spelling
    tables: int
    variant: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What stems have in common that may spell weights of the same (shape, tables, variant) each."""

    choices: tuple[tuple[Shape, int, str | None], ...]


class Entry(NamedTuple):
    """A stem in the dictionary."""

    profile: Profile
    places: tuple[Place, ...]


NOWHERE = Entry(Profile(()), ())


@dataclass(eq=False)
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
        self._stems: list[tuple[str, Sort, Entry]] = []
        self._dictionaries = tuple(dictionary(tables, layout) for layout in layouts_of(marks.pieces))
        tensors = header.tensors
        for stem, roles in marks.pieces.items():
            signature = tuple([(role, *tensors[key][:2]) for role, key in roles.items()])
            sort = self.sorts.get(signature)
            if sort is None:
                sort = self.sorts[signature] = Sort(signature)
            sort.count += 1
            self._stems.append((stem, sort, self._entry(stem)))

    def _entry(self, stem: str) -> Entry:
        """What the stem may spell, in the first layout that has it."""
        for known in self._dictionaries:
            entry = known.get(stem)
            if entry is not None:
                return entry
        if stem.startswith(KOHYA_OFT):
            return self._entry(f"{KOHYA_PREFIXES['unet']}_{stem.removeprefix(KOHYA_OFT)}")
        return NOWHERE

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """One tally a table."""
        votes: Counter[tuple[int, int]] = Counter()
        borrowed: dict[str, int] = {}
        for (sort, profile), count in Counter((sort, entry[0]) for _, sort, entry in self._stems).items():
            fitting = named = 0
            for shape, tables, variant in profile.choices:
                named |= tables
                if sort.against(shape) is None:
                    if variant is not None and tables & ~fitting:
                        borrowed[variant] = borrowed.get(variant, 0) | tables & ~fitting
                    fitting |= tables
            votes[fitting, named & ~fitting] += count
        return tuple(self._tally(1 << number, votes, borrowed) for number in range(len(self.tables)))

    def _tally(self, table: int, votes: Mapping[tuple[int, int], int], borrowed: Mapping[str, int]) -> Tally:
        explained = sum(count for (fitting, _), count in votes.items() if fitting & table)
        contradicted = sum(count for (_, misfit), count in votes.items() if misfit & table)
        variants = tuple(name for name, tables in borrowed.items() if tables & table)
        return Tally(explained, contradicted, len(self._stems) - explained - contradicted, variants)

    def contradictory(self) -> str | None:
        """The first module whose tensors contradict one another, whatever weight they are for."""
        for stem, sort, _ in self._stems:
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
        for stem, sort, entry in self._stems:
            first: Misfit | None = None
            for spelling, tables, variant in entry.places:
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
def dictionary(tables: tuple[Architecture, ...], layout: Layout) -> Mapping[str, Entry]:
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
    profiles: dict[tuple[tuple[Shape, int, str | None], ...], Profile] = {}
    return {stem: _entry(known, profiles) for stem, known in found.items()}


def _entry(
    known: Mapping[tuple[Spelling, str | None], int],
    profiles: dict[tuple[tuple[Shape, int, str | None], ...], Profile],
) -> Entry:
    places = tuple(Place(spelling, tables, variant) for (spelling, variant), tables in known.items())
    choices = tuple((place.spelling.shape, place.tables, place.variant) for place in places)
    return Entry(profiles.setdefault(choices, Profile(choices)), places)


def _variant_stems(table: Architecture, layout: Layout) -> list[tuple[str, Spelling, str]]:
    return [
        (stem, Spelling(layout, module, shape), variant)
        for variant, module, shape in variant_modules(table)
        for stem in stems(layout, module, table)
    ]
