"""What a caller says about content that is to be registered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.lookups import Statement
from registry.names import require_slug
from registry.values import Json, Kind, Origin, Parent, Relation


@dataclass(frozen=True)
class Submission:
    """The caller's words; None means "not said", and then the file's own metadata may answer, then `statements`.

    A kind that is a guess gives way to the kind of a model that is there, unless one of them is a base. A name that
    nobody chose gives way to the one that the same content from the same place has.
    """

    kind: Kind
    name: str
    title: str | None = None
    description: str | None = None
    license: str | None = None
    draft: bool = False
    author: str | None = None
    note: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()
    origin: Origin | None = None
    sampling: Json = field(default_factory=dict)
    trigger_words: tuple[str, ...] = ()
    recommended_strength: float | None = None
    recipe: str | None = None
    certificate: Json | None = None
    statements: tuple[Statement, ...] = ()
    kind_is_guess: bool = False
    is_named: bool = True

    def __post_init__(self) -> None:
        require_slug(self.name)

    @property
    def base(self) -> str | None:
        """The reference that the caller named as the base of a vector."""
        return next((parent.parent for parent in self.parents if parent.relation == Relation.ADAPTER_OF), None)


def parents_of(base: str | None, edges: Any) -> tuple[Parent, ...]:
    """The edges of a submission: `edges` as Parent or plain tuples, then the base."""
    parents = tuple(Parent(*edge) for edge in edges)
    return parents if base is None else (*parents, Parent(base, Relation.ADAPTER_OF))
