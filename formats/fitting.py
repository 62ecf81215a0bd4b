"""Whether a vector fits a base: its modules and their shapes against the table of each architecture."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from formats.adapter_files import open_adapter
from formats.architecture import Architecture
from formats.errors import NotAnAdapter
from formats.families import distinct
from formats.marks import read_marks
from formats.matching import Ballot
from formats.vectors import is_adapter

Verdict = Literal["fits", "partly", "no"]


@dataclass(frozen=True, slots=True)
class Fitting:
    """A vector against one architecture: how many of its modules the table has in the shape that they are for.

    `variants` are those of the architecture's variants (`inpaint`, `lcm`) that the vector was made for, if any.
    """

    architecture: str
    explained: int
    total: int
    variants: tuple[str, ...]
    reason: str

    @property
    def verdict(self) -> Verdict:
        """All modules fit, some do, or none does."""
        return "fits" if self.explained == self.total else "partly" if self.explained else "no"


def fittings(path: Path, architectures: Iterable[Architecture]) -> tuple[Fitting, ...]:
    """The vector in `path` against every distinct table, the best first. Raises NotAnAdapter and HeaderError."""
    opened = open_adapter(path)
    tables = distinct(architectures)
    ballot = Ballot(read_marks(opened.header), opened.header, tables)
    if not is_adapter(ballot):
        raise NotAnAdapter(f"{path}: no key carries an adapter's mark, so it fits no base. Name a vector.")
    found = [_fitting(ballot, number, table) for number, table in enumerate(tables)]
    return tuple(sorted(found, key=lambda one: one.explained / one.total if one.total else 0.0, reverse=True))


def _fitting(ballot: Ballot, number: int, table: Architecture) -> Fitting:
    tally = ballot.tallies[number]
    total = tally.explained + tally.contradicted + tally.unnamed
    reason = f"all {total} modules are {table.name}'s and every shape fits"
    if tally.variants:
        reason += f", for its variant {' and '.join(tally.variants)}"
    if tally.explained < total:
        reason = f"{tally.explained} of {total} modules are {table.name}'s: {_obstacle(ballot, number)}"
    return Fitting(table.name, tally.explained, total, tally.variants, reason)


def _obstacle(ballot: Ballot, number: int) -> str:
    """The first module that keeps the table from fitting."""
    match = ballot.match(number)
    if match.misfits:
        first = match.misfits[0]
        got = first.got if isinstance(first.got, str) else list(first.got)
        return f"{first.module} is {list(first.expected)} there, the vector is for {got}"
    return f"it has no module {match.unknown_stems[0]!r}" if match.unknown_stems else "two of them are one module there"
