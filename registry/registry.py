"""The catalog as one object: it opens units of work and hands out value objects."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from formats.architecture import Architecture
from registry import intake, labels, lineage, materialised, opening, provenance, references, search, stored
from registry.blobs import BlobStore
from registry.database import Database
from registry.history import history
from registry.jobs.lease import Lease
from registry.names import slug_of
from registry.snapshots import snapshot
from registry.states import State
from registry.submission import Submission, parents_of
from registry.tables import VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Dataset, Event, Json, Kind, Lineage, Origin, Parent, Preview, RecipeText, Version

T = TypeVar("T")


class Registry:
    """Models, their versions, where they came from, and the bytes behind them."""

    def __init__(self, database: Database, store: BlobStore, home: Path, url: str) -> None:
        self.database = database
        self.store = store
        self.home = home
        self.url = url

    @classmethod
    def open(cls, home: Path | None = None, url: str | None = None, *, actor: str | None = None) -> "Registry":
        """Open the registry that the arguments, the TAU_* variables, the user's config file or the defaults name.

        A new database is brought to the newest schema. Raises SchemaMismatch for an older one, and Unsupported.
        """
        place = opening.open_place(home, url, actor)
        return cls(place.database, place.store, place.home, place.url)

    def close(self) -> None:
        """Close the pooled connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Content

    def add(
        self,
        path: Path | str,
        *,
        kind: str,
        name: str | None = None,
        title: str | None = None,
        license: str | None = None,
        base: str | None = None,
        draft: bool = False,
        author: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        edges: Iterable[Parent | tuple[Any, ...]] = (),
        origin: Origin | None = None,
        sampling: Mapping[str, Any] | None = None,
        trigger_words: Iterable[str] = (),
        recommended_strength: float | None = None,
        description: str | None = None,
        recipe: str | None = None,
        certificate: Mapping[str, Any] | None = None,
        lease: Lease | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> Version:
        """Register a file or folder: identified, hashed, stored and recorded at once, or not at all.

        The same content in the same model is the same version. `base` is a reference, or `external:TEXT` for a base
        that is not registered; `edges` are Parent values; `recipe` is the sha256 of a recorded recipe, `certificate`
        the proof about the file. With `lease` the version is the work of a job, refused once the lease is lost; with
        `result` the same commit finishes the job.
        """
        source = Path(path)
        said = Submission(
            kind=Kind(search.require_known(kind, list(Kind), "kind")),
            name=name or slug_of(source.stem if source.is_file() else source.resolve().name),
            title=title,
            description=description,
            license=license,
            draft=draft,
            author=author,
            note=note,
            tags=dict(tags or {}),
            parents=parents_of(base, edges),
            origin=origin,
            sampling=dict(sampling or {}),
            trigger_words=tuple(trigger_words),
            recommended_strength=recommended_strength,
            recipe=recipe,
            certificate=None if certificate is None else dict(certificate),
        )
        done = None if result is None else dict(result)
        return intake.add(self.database, self.store, source, said, lease=lease, result=done)

    def folder(self, version: Version) -> Path:
        """A folder with the version's files under the names that they had, for libraries that open folders."""
        return materialised.version_folder(version, self.store, self._materialised)

    def file(self, version: Version) -> Path:
        """What a vector is opened from: its weight file, or its folder where a PEFT config belongs to it."""
        return materialised.version_file(version, self.store, self._materialised)

    def put_blob(self, content: Path | bytes) -> str:
        """Store bytes on their own, such as a picture; their sha256."""
        return stored.put_blob(self.database, self.store, content)

    def blob_path(self, sha256: str) -> Path:
        """Where a blob's bytes are, to be read only. Raises NotFound and CorruptBlob."""
        return self._read(lambda uow: stored.blob_path(uow, self.store, sha256))

    # Finding

    def get(self, ref: str) -> Version:
        """The version that a reference means now. Raises InvalidReference, AmbiguousReference and NotFound."""
        return self._read(lambda uow: snapshot(uow, references.resolve(uow, ref)))

    def search(
        self,
        text: str | None = None,
        *,
        kind: str | None = None,
        family: str | None = None,
        tags: Mapping[str, str] | None = None,
        state: str | None = None,
        limit: int = 50,
        after: int | None = None,
    ) -> list[Version]:
        """The versions that meet every condition, newest first; `after` is the id of the last one seen."""
        return self._read(
            lambda uow: search.search(
                uow, text, kind=kind, family=family, tags=tags, state=state, limit=limit, after=after
            )
        )

    def bases(self, family: str) -> list[Version]:
        """The base that each model of that family offers."""
        return self._read(lambda uow: search.bases(uow, family))

    def architectures(self) -> list[Architecture]:
        """The module tables of imported bases that no shipped table covers."""
        return intake.registered_architectures(self.database)

    def lineage(self, ref: str) -> Lineage:
        """What a version was made from and what was made from it."""
        return self._read(lambda uow: lineage.lineage(uow, ref))

    def history(self, model: str, *, limit: int = 1_000, after: int | None = None) -> list[Event]:
        """What happened to a model and its versions, oldest first; `after` is the id of the last event seen."""
        return self._read(lambda uow: history(uow, references.require_model(uow, model), limit=limit, after=after))

    def alias_at(self, model: str, name: str, when: datetime) -> Version | None:
        """The version that an alias meant at a moment (with its time zone), None where it meant nothing."""

        def find(uow: UnitOfWork) -> Version | None:
            row = labels.alias_at(uow, model, name, when)
            return snapshot(uow, row) if row else None

        return self._read(find)

    # Naming and life

    def alias(self, ref: str, name: str) -> Version:
        """From now on `name` means this version of its model."""
        return self._change(lambda uow: labels.set_alias(uow, ref, name))

    def unalias(self, ref: str, name: str) -> Version:
        """From now on `name` means no version of that model."""
        return self._change(lambda uow: labels.drop_alias(uow, ref, name))

    def tag(self, ref: str, key: str, value: str = "") -> Version:
        """Put a tag on a version, replacing the value that it had."""
        return self._change(lambda uow: labels.set_tag(uow, ref, key, value))

    def untag(self, ref: str, key: str) -> Version:
        """Take a tag off a version."""
        return self._change(lambda uow: labels.drop_tag(uow, ref, key))

    def publish(self, ref: str) -> Version:
        """Offer a version by its model's bare name, its files frozen from now on."""
        return self._change(lambda uow: labels.set_state(uow, ref, State.PUBLISHED))

    def deprecate(self, ref: str) -> Version:
        """Offer a version no longer, while everything that names it goes on working."""
        return self._change(lambda uow: labels.set_state(uow, ref, State.DEPRECATED))

    def archive(self, ref: str) -> Version:
        """Hide a version from search and bare names."""
        return self._change(lambda uow: labels.set_state(uow, ref, State.ARCHIVED))

    def link(self, child: str, parent: str, relation: str, weight: float | None = None, position: int = 0) -> None:
        """Record that `child` came from `parent`: a reference, `dataset:NAME`, `job:NUMBER` or `external:TEXT`."""

        def write(uow: UnitOfWork) -> None:
            lineage.link(uow, references.resolve(uow, child), Parent(parent, relation, weight, position))

        self._write(write)

    # Provenance

    def add_dataset(self, name: str, fingerprint: str, uri: str, license: str | None = None) -> Dataset:
        """Record a data set by the sha256 that is its fingerprint; `.ref` is how an edge names it."""
        return self._write(lambda uow: provenance.add_dataset(uow, name, fingerprint, uri, license))

    def add_recipe(self, text: str, locked: str, sha256: str) -> RecipeText:
        """Record a recipe as typed and as locked."""
        return self._write(lambda uow: provenance.add_recipe(uow, text, locked, sha256))

    def recipe(self, version: Version | str) -> RecipeText | None:
        """The recipe that a version was composed by, None for other versions."""
        return self._read(lambda uow: provenance.recipe_of(uow, _ref(version)))

    def add_certificate(self, version: Version | str, certificate: Mapping[str, Any]) -> None:
        """Keep the proof about a version's file."""
        self._write(lambda uow: provenance.add_certificate(uow, _ref(version), certificate))

    def certificate(self, version: Version | str) -> Json | None:
        """The newest proof about a version's file, None where there is none."""
        return self._read(lambda uow: provenance.certificate_of(uow, _ref(version)))

    def add_preview(
        self, subject: Version | str, settings: Mapping[str, Any], picture: Path | bytes, metrics: Mapping[str, Any]
    ) -> Preview:
        """Keep a picture of what `subject` paints: a version, or the sha256 of a recorded recipe."""
        sha256 = self.put_blob(picture)
        return self._write(
            lambda uow: provenance.add_preview(uow, _ref(subject), sha256, dict(settings), dict(metrics))
        )

    def previews(self, subject: Version | str, *, limit: int = 50) -> list[Preview]:
        """The pictures of a version or a recipe, newest first."""
        return self._read(lambda uow: provenance.previews(uow, _ref(subject), limit))

    @property
    def _materialised(self) -> Path:
        return self.home / "materialised"

    def _read(self, query: Callable[[UnitOfWork], T]) -> T:
        with self.database.reading() as uow:
            return query(uow)

    def _write(self, change: Callable[[UnitOfWork], T]) -> T:
        with self.database.writing() as uow:
            result = change(uow)
            uow.commit()
        return result

    def _change(self, change: Callable[[UnitOfWork], VersionRow]) -> Version:
        return self._write(lambda uow: snapshot(uow, change(uow)))


def _ref(subject: Version | str) -> str:
    return subject if isinstance(subject, str) else subject.ref
