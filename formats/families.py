"""Which base an adapter or a folder belongs to: the architecture whose table explains every key and shape."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from formats.architecture import Architecture
from formats.findings import UNKNOWN, Finding
from formats.header import Header
from formats.layouts import Match, match_table
from formats.marks import Marks

ONLY_ONE_FITS = 0.99
ONLY_ONE_IS_COMPLETE = 0.9
DECLARED_AMONG_FITTING = 0.8
AMBIGUOUS = 0.3
NONE_FITS = 0.05
CONTRADICTED = 0.1
"""What a contradicting declaration in the metadata takes away: shapes weigh more than words."""

DECLARATIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ss_base_model_version": (
        ("sd_v1", "sd15"),
        ("sd_1.5", "sd15"),
        ("sd_v2", "sd21"),
        ("sd_2", "sd21"),
        ("sdxl", "sdxl"),
    ),
    "modelspec.architecture": (
        ("stable-diffusion-v1", "sd15"),
        ("stable-diffusion-v2", "sd21"),
        ("stable-diffusion-xl", "sdxl"),
    ),
}
"""Metadata key -> beginnings of its value -> family."""

NORM_ROLES = frozenset({"diff", "diff_b", "w_norm", "b_norm"})
"""What an adapter stores for normalisation layers, which the tables do not list."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture against one file.

    `coverage` is the share that the file adapts of the architecture's modules of the adapted sorts.
    """

    architecture: Architecture
    match: Match
    strangers: tuple[str, ...]
    coverage: float

    @property
    def fits(self) -> bool:
        """Whether the table explains every key and shape of the file."""
        return bool(self.match.spelled) and not self.match.misfits and not self.strangers

    @property
    def name(self) -> str:
        """The architecture's name."""
        return self.architecture.name


def candidates(marks: Marks, header: Header, architectures: Iterable[Architecture]) -> tuple[Candidate, ...]:
    """Every distinct table against the file."""
    return tuple(_candidate(marks, header, table) for table in distinct(architectures))


def distinct(architectures: Iterable[Architecture]) -> tuple[Architecture, ...]:
    """The architectures without those whose table repeats an earlier one: a fine-tune of SD-1.5 is of family sd15."""
    kept: list[Architecture] = []
    for table in architectures:
        if all(table.modules != other.modules for other in kept):
            kept.append(table)
    return tuple(kept)


def family_of_adapter(found: Sequence[Candidate], header: Header) -> tuple[Finding, Candidate | None]:
    """The family by vote over `found`, and the table that explains all keys if there is one.

    One fitting table decides. Of several, the one whose modules of the adapted sorts are all adapted (SSD-1B's modules
    are a part of SDXL's); else the one that the metadata name; else the answer is `unknown` with the candidates.
    """
    fitting = [one for one in found if one.fits]
    declared = declared_families(header.metadata)
    words = tuple(f"{key} is {header.metadata[key]!r}" for key in declared)
    if not fitting:
        return Finding(UNKNOWN, NONE_FITS, (*nearest(found), *words)), None
    if len(fitting) == 1:
        return _decided(fitting[0], ONLY_ONE_FITS, declared, (_explains(fitting[0]), *words)), fitting[0]
    both = f"{' and '.join(one.name for one in fitting)} have all its {len(fitting[0].match.spelled)} modules"
    complete = [one for one in fitting if one.coverage == 1]
    if len(complete) == 1:
        whole = f"every module of these sorts in {complete[0].name} is adapted, and only a part of the others'"
        return _decided(complete[0], ONLY_ONE_IS_COMPLETE, declared, (both, whole, *words)), complete[0]
    named = [one for one in fitting if one.name in declared.values()]
    if len(named) == 1:
        return Finding(named[0].name, DECLARED_AMONG_FITTING, (both, *words)), named[0]
    return Finding(UNKNOWN, AMBIGUOUS, (f"ambiguous: {both}", *words)), None


def family_of_table(table: Architecture, architectures: Iterable[Architecture]) -> tuple[Finding, str | None]:
    """The family of a base from its own table: the architecture with the same modules and shapes."""
    others = tuple(architectures)
    for other in others:
        if other.modules == table.modules:
            sentence = f"its {len(table.modules)} modules and their shapes are exactly {other.name}'s"
            return Finding(other.name, 1.0, (sentence,)), other.name
    differing = {other.name: _differences(table, other) for other in others}
    if not differing:
        return Finding(UNKNOWN, NONE_FITS, ("no architecture to compare with",)), None
    name = min(differing, key=lambda one: len(differing[one]))
    first = differing[name][0]
    sentence = (
        f"its table of {len(table.modules)} modules is none of {', '.join(differing)}: nearest is {name} with "
        f"{len(differing[name])} modules that differ, first {first}"
    )
    return Finding(UNKNOWN, NONE_FITS, (sentence,)), None


def declared_families(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata key -> the family that its value declares."""
    return {
        key: family
        for key, beginnings in DECLARATIONS.items()
        for beginning, family in beginnings
        if metadata.get(key, "").lower().startswith(beginning)
    }


def nearest(found: Sequence[Candidate]) -> tuple[str, ...]:
    """What keeps the nearest table from fitting, in one sentence."""
    if not found:
        return ("no architecture to compare with",)
    best = max(found, key=lambda one: len(one.match.spelled))
    count = len(best.match.spelled)
    total = count + len(best.match.misfits) + len(best.match.unknown_stems)
    if not count and not any(one.match.misfits for one in found):
        return (f"none of its {total} modules is named in {', '.join(one.name for one in found)}",)
    return (f"no architecture explains every key: {count} of {total} modules are {best.name}'s; {_obstacle(best)}",)


def _candidate(marks: Marks, header: Header, table: Architecture) -> Candidate:
    match = match_table(marks, header, table)
    unknown = tuple(stem for stem in match.unknown_stems if not marks.pieces[stem].keys() <= NORM_ROLES)
    return Candidate(table, match, (*unknown, *marks.strange), _coverage(match, table))


def _coverage(match: Match, table: Architecture) -> float:
    adapted = Counter(_sort(spelling.module) for spelling in match.spelled.values())
    present = Counter(sort for module in table.modules if (sort := _sort(module)) in adapted)
    return adapted.total() / present.total() if adapted else 0.0


def _sort(module: str) -> str:
    """A module's name without its place: `unet.down_blocks.#.attentions.#.proj_in`."""
    return re.sub(r"\.\d+(?=\.|$)", ".#", module)


def _decided(one: Candidate, confidence: float, declared: Mapping[str, str], evidence: tuple[str, ...]) -> Finding:
    contradicts = any(family != one.name for family in declared.values())
    return Finding(one.name, round(confidence - CONTRADICTED * contradicts, 2), evidence)


def _explains(one: Candidate) -> str:
    widths = {
        one.architecture.modules[s.module].shape[1]
        for s in one.match.spelled.values()
        if s.module.endswith(".attn2.to_k")
    }
    width = f", cross attention reads {widths.pop()} features" if len(widths) == 1 else ""
    return f"all {len(one.match.spelled)} adapted modules are {one.name}'s and every shape fits{width}"


def _obstacle(one: Candidate) -> str:
    if one.match.misfits:
        misfit = one.match.misfits[0]
        got = misfit.got if isinstance(misfit.got, str) else list(misfit.got)
        return f"first that does not fit: {misfit.module}, expected {list(misfit.expected)}, got {got}"
    return f"first unknown key: {one.strangers[0]!r}" if one.strangers else "no key is missing"


def _differences(table: Architecture, other: Architecture) -> list[str]:
    names = sorted(table.modules.keys() | other.modules.keys())
    return [name for name in names if table.modules.get(name) != other.modules.get(name)]
