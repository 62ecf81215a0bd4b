"""What the registry hands out: frozen value objects of plain types, detached from any session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

Json = dict[str, Any]

COUNTED = 10_000
"""Counting what matches a search stops here."""


class Kind(StrEnum):
    """What a model is for."""

    BASE = "base"  # a whole pipeline that vectors are added to
    ACCELERATION = "acceleration"  # makes few steps enough
    STYLE = "style"  # fine-tuned on somebody's pictures
    COMPOSITION = "composition"  # a weighted sum of vectors
    OTHER = "other"


CORRECTABLE = frozenset(Kind) - {Kind.BASE}
"""Kinds that are a matter of opinion; whether something is a base is a matter of fact."""


class Relation(StrEnum):
    """How a version came from its parent."""

    ADAPTER_OF = "adapter_of"
    DISTILLED_FROM = "distilled_from"
    TEACHER = "teacher"
    TRAINED_ON = "trained_on"
    COMPOSED_FROM = "composed_from"
    BAKED_INTO = "baked_into"
    EXTRACTED_FROM = "extracted_from"
    RESIZED_FROM = "resized_from"
    CONVERTED_FROM = "converted_from"
    SUPERSEDES = "supersedes"
    PRODUCED_BY = "produced_by"  # the job that registered it


class Parent(NamedTuple):
    """One edge to write: `parent` is a reference, `dataset:NAME`, `job:ID` or `external:TEXT`."""

    parent: str
    relation: str
    weight: float | None = None
    position: int = 0


@dataclass(frozen=True)
class Origin:
    """Where bytes came from: kind is file, hub, url, civitai, job, recipe or upload.

    `embedded` is the metadata that the files carry, verbatim, by path; the registry reads it from them.
    """

    kind: str
    uri: str
    revision: str | None = None
    embedded: Json = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """A file of a source that is not registered, by its path there, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Artifact:
    """One file of a version."""

    role: str
    path: str
    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True)
class Version:
    """One immutable content of a model, with what is known about it."""

    id: int
    model: str
    number: int
    digest: str
    state: str
    kind: str
    title: str
    description: str
    license: str | None
    author: str | None
    note: str | None
    created_at: datetime
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    facts: Json | None
    sampling: Json
    trigger_words: tuple[str, ...]
    recommended_strength: float | None
    architecture: str | None
    artifacts: tuple[Artifact, ...]
    origin: Origin | None
    recommended_low: float | None = None
    recommended_high: float | None = None
    nsfw: bool = False
    license_flags: Json = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)
    """What of its source was not registered; only who registers it is told, everybody else by its history."""

    @property
    def ref(self) -> str:
        """The name that always means this version: `papercut:3`."""
        return f"{self.model}:{self.number}"

    @property
    def family(self) -> str | None:
        """The base family found at import, None where nothing was identified."""
        return self.facts["family"]["value"] if self.facts else None


@dataclass(frozen=True)
class Page:
    """Versions in the order asked for, and the cursor of the page after them: None on the last one.

    `count` is of all that match, up to one more than is counted; None where it was not asked for.
    """

    versions: tuple[Version, ...]
    cursor: str | None
    count: int | None

    @property
    def total(self) -> str:
        """The count for people: `318`, or `10,000+`."""
        return "" if self.count is None else f"{self.count - 1:,}+" if self.count > COUNTED else f"{self.count:,}"


@dataclass(frozen=True)
class Edge:
    """`child` came from `parent` by `relation`; `weight` is the lambda of a composition."""

    child: str
    parent: str
    relation: str
    weight: float | None
    position: int


@dataclass(frozen=True)
class Node:
    """A point of a lineage graph: a version, a data set, a job or something outside the registry."""

    ref: str
    kind: str
    title: str
    state: str | None


@dataclass(frozen=True)
class Lineage:
    """The ancestors and descendants of one version, itself included; `complete` where none was left out."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    complete: bool = True


@dataclass(frozen=True)
class Event:
    """One line of history."""

    at: datetime
    actor: str
    subject: str
    action: str
    before: Json | None
    after: Json | None
    id: int


@dataclass(frozen=True)
class Dataset:
    """A set of pictures and captions, known by the fingerprint of its content."""

    name: str
    fingerprint: str
    uri: str
    license: str | None
    kind: str | None = None
    """folder, parquet or webdataset"""
    revision: str | None = None
    """The commit, where it came from a repository."""
    pictures: int | None = None
    left_out: int | None = None
    """Corrupt pictures that were left out on request."""

    @property
    def ref(self) -> str:
        """How an edge names it."""
        return f"dataset:{self.name}:{self.fingerprint[:16]}"


@dataclass(frozen=True)
class RecipeText:
    """A recipe as typed and as locked (digests for names), keyed by the sha256 of the locked text."""

    text: str
    locked: str
    sha256: str


@dataclass(frozen=True)
class Preview:
    """A picture of what a version or a recipe paints."""

    subject: str
    settings: Json
    picture: str
    metrics: Json
    created_at: datetime
    key: str | None = None
    """The digest of all that decides its pixels, where it was painted under one."""
