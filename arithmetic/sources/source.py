"""What a term of a sum multiplies: a vector, or what was made of several."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from arithmetic.deltas import Delta
from formats import Architecture


class Ranked(Protocol):
    """What is known of one module before a tensor is read."""

    @property
    def rank(self) -> int | None:
        """The largest rank that its delta can have; None where it is kept as a matrix."""


class Origin(Protocol):
    """A file that a sum is made of."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def path(self) -> Path:
        """The file, or the folder."""

    @property
    def sha256(self) -> str:
        """The digest of its content."""


class Source(Protocol):
    """Deltas by module. Calling `delta` twice gives the same bits, in whatever order and from whatever thread."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def architecture(self) -> Architecture:
        """The table that its modules belong to."""

    @property
    def modules(self) -> Mapping[str, Ranked]:
        """The modules that it changes."""

    @property
    def content(self) -> Hashable:
        """Equal for two sources exactly when all their deltas are."""

    @property
    def parts(self) -> "tuple[tuple[float, Source], ...]":
        """What it is made of, with lambdas; nothing for a file."""

    @property
    def origins(self) -> Sequence[tuple[float, Origin]]:
        """The files that it reads itself, with lambdas: of a vector, itself; of what is made of parts, nothing."""

    def delta(self, module: str) -> Delta:
        """The change of one module."""
