"""Which base an adapter belongs to, by the votes of all its modules; depth, metadata and file name break ties."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from formats.architecture import Architecture
from formats.declarations import named, statements
from formats.findings import UNKNOWN, Finding
from formats.header import Header
from formats.marks import BUNDLED, Marks
from formats.matching import Ballot, Match, Tally

ONLY_ONE_FITS = 0.99
ONLY_ONE_IS_COMPLETE = 0.9
ONLY_ONE_IS_AS_DEEP = 0.8
DECLARED_AMONG_FITTING = 0.8
NAMED_AMONG_FITTING = 0.5
MOST_MODULES_FIT = 0.9
"""Times the share of the modules that fit."""
SHALLOW = 0.3
"""What it takes away when the only fitting table has deeper blocks than the adapter reaches."""
AMBIGUOUS = 0.3
NONE_FITS = 0.05
CONTRADICTED = 0.1
"""What a contradicting declaration in the metadata takes away: shapes weigh more than words."""

RECOGNISED = 0.8
"""The share of modules that must fit a table for a file with misfits to be called a broken one of its family."""

_PLACE = re.compile(r"\.\d+(?=\.|$)")
_DEPTH = re.compile(r"(?<=\.transformer_blocks\.)\d+")


@dataclass(frozen=True)
class Candidate:
    """One architecture against one file. `strangers` are keys without an adapter's mark."""

    ballot: Ballot
    number: int
    strangers: tuple[str, ...]

    @property
    def architecture(self) -> Architecture:
        """The table."""
        return self.ballot.tables[self.number]

    @property
    def name(self) -> str:
        """The architecture's name."""
        return self.architecture.name

    @property
    def tally(self) -> Tally:
        """The votes of the file's modules."""
        return self.ballot.tallies[self.number]

    @cached_property
    def match(self) -> Match:
        """Which modules the stems spell."""
        return self.ballot.match(self.number)

    @property
    def fits(self) -> bool:
        """Whether the table explains every key and shape of the file, up to a variant of the family."""
        return self.tally.share == 1 and not self.strangers

    @property
    def is_exact(self) -> bool:
        """Whether it does so without a variant, each module spelled once."""
        return self.fits and not self.match.misfits and not self.match.unknown_stems

    @cached_property
    def coverage(self) -> float:
        """The share that the file adapts of the architecture's modules of the adapted sorts."""
        sort_of, present = _sorts(self.architecture)
        adapted = self._adapted(sort_of)
        return sum(adapted.values()) / sum(present[sort] for sort in adapted) if adapted else 0.0

    @cached_property
    def depth(self) -> tuple[int, int, int]:
        """(places adapted to their full depth, places adapted, the deepest index) of the transformer blocks."""
        place_of, present = _places(self.architecture)
        adapted = self._adapted(place_of)
        full = sum(count == present[place] for place, count in adapted.items())
        return full, len(adapted), max((present[place] for place in adapted), default=0) - 1

    def _adapted(self, group_of: Mapping[str, str]) -> Counter[str]:
        counted = Counter(map(group_of.get, self.match.modules))
        return Counter({group: count for group, count in counted.items() if group is not None})


@dataclass(frozen=True)
class Choice:
    """The family, the candidate that it names (None when unknown), and why the file is broken if it is."""

    family: Finding
    candidate: Candidate | None
    broken: str | None = None


def candidates(ballot: Ballot, marks: Marks) -> tuple[Candidate, ...]:
    """Every table against the file."""
    strangers = tuple(key for key in marks.strange if not key.startswith(BUNDLED))
    return tuple(Candidate(ballot, number, strangers) for number in range(len(ballot.tables)))


def distinct(architectures: Iterable[Architecture]) -> tuple[Architecture, ...]:
    """The architectures without those whose table repeats an earlier one: a fine-tune of SD-1.5 is of family sd15."""
    kept: list[Architecture] = []
    for table in architectures:
        if all(table.modules != other.modules for other in kept):
            kept.append(table)
    return tuple(kept)


def choose(found: Sequence[Candidate], header: Header, config: Mapping[str, Any] | None = None) -> Choice:
    """The family by vote. `config` is the adapter_config.json of a PEFT folder.

    One table that explains all decides. Of several, the one whose modules of the adapted sorts are all adapted, or
    whose blocks are adapted to their full depth (SSD-1B's modules are a part of SDXL's, Vega's of SSD-1B's); else the
    one that metadata, configuration or file name speak of; else `unknown` with the candidates. Where none explains all,
    the one that explains most modules is taken with less confidence, and contradicting shapes make the file a broken
    one of it.
    """
    said, words = statements(header.metadata, config)
    fitting = [one for one in found if one.fits]
    if len(fitting) == 1:
        return _only(fitting[0], said, words)
    if fitting:
        return _of_several(fitting, header, said, words)
    return _most(found, header, said, words)


def nearest(found: Sequence[Candidate]) -> tuple[str, ...]:
    """What keeps the nearest table from fitting, in one sentence."""
    if not found:
        return ("no architecture to compare with",)
    best = max(found, key=lambda one: one.tally.explained)
    total = best.tally.explained + best.tally.contradicted + best.tally.unnamed
    if not best.tally.explained and not any(one.tally.contradicted for one in found):
        return (f"none of its {total} modules is named in {', '.join(one.name for one in found)}",)
    count = f"{best.tally.explained} of {total} modules are {best.name}'s"
    return (f"no architecture explains every key: {count}; {_obstacle(best)}",)


def _only(one: Candidate, said: Mapping[str, str], words: tuple[str, ...]) -> Choice:
    full, places, _ = one.depth
    if full == places:
        return Choice(_decided(one, ONLY_ONE_FITS, said, (_explains(one), *words)), one)
    shallow = f"but {places - full} of {places} groups of transformer blocks are deeper in {one.name} than adapted here"
    return Choice(_decided(one, ONLY_ONE_FITS - SHALLOW, said, (_explains(one), shallow, *words)), one)


def _of_several(
    fitting: Sequence[Candidate], header: Header, said: Mapping[str, str], words: tuple[str, ...]
) -> Choice:
    both = f"{' and '.join(one.name for one in fitting)} have all its {fitting[0].tally.explained} modules"
    preferred = _prefer(fitting, header, said)
    if preferred is None:
        return Choice(Finding(UNKNOWN, AMBIGUOUS, (f"ambiguous: {both}", *words)), None)
    one, confidence, reason = preferred
    return Choice(_decided(one, confidence, said, (both, *reason, *words)), one)


def _most(found: Sequence[Candidate], header: Header, said: Mapping[str, str], words: tuple[str, ...]) -> Choice:
    most = max((one.tally.explained for one in found), default=0)
    leaders = [one for one in found if one.tally.explained == most and one.tally.share >= RECOGNISED]
    preferred = (leaders[0], 1.0, ()) if len(leaders) == 1 else _prefer(leaders, header, said)
    if preferred is None:
        broken = found[0].ballot.contradictory() if found else None
        return Choice(Finding(UNKNOWN, NONE_FITS, (*nearest(found), *words)), None, broken)
    one, confidence, reason = preferred
    keys = one.tally.explained + one.tally.contradicted + one.tally.unnamed + len(one.strangers)
    confidence *= MOST_MODULES_FIT * one.tally.explained / keys
    family = _decided(one, confidence, said, (*nearest([one]), *reason, *words))
    broken = f"recognised as {one.name}, but broken: {_obstacle(one)}" if one.match.misfits else None
    return Choice(family, one, broken)


def _prefer(
    tied: Sequence[Candidate], header: Header, said: Mapping[str, str]
) -> tuple[Candidate, float, tuple[str, ...]] | None:
    """The one of `tied` that something else speaks for, with the confidence and the reason; None when nothing does."""
    complete = [one for one in tied if one.coverage == 1]
    if len(complete) == 1:
        whole = f"every module of these sorts in {complete[0].name} is adapted, and only a part of the others'"
        return complete[0], ONLY_ONE_IS_COMPLETE, (whole,)
    deep = [one for one in tied if _is_as_deep(one)]
    if len(deep) == 1:
        depth = f"its {deep[0].depth[1]} groups of transformer blocks are as deep as {deep[0].name}'s, and no other's"
        return deep[0], ONLY_ONE_IS_AS_DEEP, (depth,)
    by_words = [one for one in tied if one.name in said.values()]
    if len(by_words) == 1:
        return by_words[0], DECLARED_AMONG_FITTING, ()
    by_name = [one for one in tied if one.name == named(header.path.stem) and not said]
    return (by_name[0], NAMED_AMONG_FITTING, (f"the file is called {header.path.name!r}",)) if by_name else None


def _is_as_deep(one: Candidate) -> bool:
    """Whether all blocks are adapted to their full depth, and enough of them to tell: two places, one of them deep."""
    full, places, deepest = one.depth
    return full == places and places > 1 and deepest > 0


def _decided(one: Candidate, confidence: float, said: Mapping[str, str], evidence: tuple[str, ...]) -> Finding:
    contradicts = any(family != one.name for family in said.values())
    return Finding(one.name, round(max(confidence - CONTRADICTED * contradicts, 0.0), 2), evidence)


def _explains(one: Candidate) -> str:
    ends = ((s.module.endswith(".attn2.to_k"), s.shape) for s in one.match.spelled.values())
    widths = {shape[1] for is_cross_attention, shape in ends if is_cross_attention}
    width = f", cross attention reads {widths.pop()} features" if len(widths) == 1 else ""
    return f"all {one.tally.explained} adapted modules are {one.name}'s and every shape fits{width}"


def _obstacle(one: Candidate) -> str:
    if one.match.misfits:
        misfit = one.match.misfits[0]
        got = misfit.got if isinstance(misfit.got, str) else list(misfit.got)
        return f"first that does not fit: {misfit.module}, expected {list(misfit.expected)}, got {got}"
    unknown = (*one.match.unknown_stems, *one.strangers)
    return f"first unknown key: {unknown[0]!r}" if unknown else "no key is missing"


@lru_cache(maxsize=64)
def _sorts(architecture: Architecture) -> tuple[Mapping[str, str], Counter[str]]:
    """Each module's name without its place (`unet.down_blocks.#.attentions.#.proj_in`), and how many have each."""
    sort_of = {module: _PLACE.sub(".#", module) for module in architecture.modules}
    return sort_of, Counter(sort_of.values())


@lru_cache(maxsize=64)
def _places(architecture: Architecture) -> tuple[Mapping[str, str], Counter[str]]:
    """Each module of a transformer block, its name without the block's index; and how deep each such place is."""
    place_of = {module: _DEPTH.sub("#", module) for module in architecture.modules if ".transformer_blocks." in module}
    return place_of, Counter(place_of.values())
