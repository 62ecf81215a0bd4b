"""How captioned pictures are read, and what every place that holds them can do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

LARGEST_CAPTION = 1024**2
"""Bytes of one caption."""


class Reading(BaseModel):
    """What a person may say about how a data set is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_column: str | None = Field(None, description="parquet: the pictures' column; tar: their extension")
    caption_column: str | None = Field(None, description="parquet: the captions' column; JSON: their key")
    skip_corrupt: bool = Field(False, description="leave corrupt pictures out, counted and named, instead of refusing")


Locator = Any
"""Where one picture lies in its source; only the source that made it reads it."""


@dataclass(frozen=True)
class Record:
    """One picture as its source tells of it: `place` in words, `name` where the source has names.

    By `locator` the source finds its bytes again later.
    """

    name: str | None
    place: str
    caption: str
    locator: Locator


Contents = Callable[[], bytes]
"""Reads a picture's bytes now. May raise Undecodable."""


class Source(Protocol):
    """A place that holds captioned pictures."""

    kind: str
    """folder, parquet or webdataset"""

    title: str
    """What a person would call it."""

    uri: str

    def records(self) -> Iterator[tuple[Record, Contents]]:
        """Every picture, once. Raises DatasetError and its kinds."""

    def read(self, locators: Sequence[Locator]) -> list[bytes]:
        """The bytes of some pictures."""
