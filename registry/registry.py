"""The catalog as one object: it opens units of work and hands out value objects."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

from formats.architecture import Architecture, all_architectures
from formats.fitting import fittings
from registry import (
    editing,
    favourites,
    fitting,
    intake,
    labels,
    lineage,
    previews,
    provenance,
    pushes,
    references,
    removal,
)
from registry.blobs import materialised, stored
from registry.blobs.store import BlobStore
from registry.blobs.uploads import Uploads
from registry.database import Database
from registry.history import history
from registry.jobs.lease import Lease
from registry.license_report import LicenseReport, license_report
from registry.lookups import Statement
from registry.measurements import Measurements
from registry.names import slug_of
from registry.opening import open_place
from registry.provenance import DatasetFacts
from registry.reidentification import registered_architectures
from registry.search import search
from registry.search.matches import require_known
from registry.search.query import Conditions
from registry.search.search import Sort
from registry.snapshots import find, snapshot, snapshots
from registry.states import State
from registry.storage.storage import Storage
from registry.submission import Submission, parents_of
from registry.tables import VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Dataset, Event, Json, Kind, Lineage, Origin, Page, Parent, Preview, RecipeText, Version

T = TypeVar("T")
Tags = Mapping[str, str] | Iterable[str] | None


class Registry:
    """Models, their versions, where they came from, and the bytes behind them."""

    def __init__(self, database: Database, store: BlobStore, home: Path, url: str) -> None:
        self.database = database
        self.store = store
        self.home = home
        self.url = url
        self._materialised = home / "materialised"

    @classmethod
    def open(cls, home: Path | str | None = None, url: str | None = None, *, actor: str | None = None) -> "Registry":
        """Open the registry that the arguments, the TAU_* variables, the user's config file or the defaults name.

        A new database is brought to the newest schema. Raises SchemaMismatch for an older one, and Unsupported.
        """
        if isinstance(home, str) and "://" in home:
            home, url = None, home
        place = open_place(None if home is None else Path(home), url, actor)
        return cls(place.database, place.store, place.home, place.url)

    def close(self) -> None:
        """Close the pooled connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        statements: Iterable[Statement] = (),
        kind_is_guess: bool = False,
        in_place: bool = False,
        lease: Lease | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> Version:
        """Register a file or folder: identified, hashed, stored and recorded at once, or not at all.

        The same content in the same model is the same version. `base` is a reference, or `external:TEXT` for a base
        that is not registered; `edges` are Parent values; `recipe` is the sha256 of a recorded recipe, `certificate`
        the proof about the file, `statements` what others say of it. With `in_place` the bytes stay where they are,
        their owner keeps them, and they are verified before use. With `lease` the version is the work of a job,
        refused once the lease is lost; with `result` the same commit finishes the job.
        """
        source = Path(path)
        said = Submission(
            kind=Kind(require_known(kind, list(Kind), "kind")),
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
            statements=tuple(statements),
            kind_is_guess=kind_is_guess,
            is_named=name is not None,
        )
        done = None if result is None else dict(result)
        return intake.add(self.database, self.store, source, said, in_place=in_place, lease=lease, result=done)

    def folder(self, version: Version) -> Path:
        """A folder with the version's files under the names that they had, for libraries that open folders."""
        return materialised.version_folder(version, self.blob_paths, self._materialised)

    def file(self, version: Version) -> Path:
        """What a vector is opened from: its weight file, or its folder where a PEFT config belongs to it."""
        return materialised.version_file(version, self.blob_paths, self._materialised)

    def put_blob(self, content: Path | bytes) -> str:
        """Store bytes on their own, such as a picture; their sha256."""
        return stored.put_blob(self.database, self.store, content, lambda _, sha256: sha256)

    def blob_path(self, sha256: str) -> Path:
        """Where a blob's bytes are, to be read only. Raises NotFound and CorruptBlob."""
        return self.blob_paths([sha256])[sha256]

    def blob_paths(self, digests: Sequence[str]) -> Mapping[str, Path]:
        """Where the bytes of several blobs are, asked for at once. Raises NotFound and CorruptBlob."""
        return stored.blob_paths(self.database, self.store, digests)

    @property
    def storage(self) -> Storage:
        """Garbage collection, the consistency check, relinking."""
        return Storage(self.database, self.store, self._materialised)

    @property
    def uploads(self) -> Uploads:
        """Bytes that arrive in pieces."""
        return Uploads(self.database, self.store)

    @property
    def measurements(self) -> Measurements:
        """What was measured of vectors, so that a verdict reads no tensor."""
        return Measurements(self.database)

    def remove(self, ref: str) -> Version:
        """Hide a version for good; its number and history stay. Raises Conflict where something depends on it."""
        return self.remove_all([ref])[0]

    def remove_all(self, refs: Iterable[str], *, dry_run: bool = False) -> list[Version]:
        """Remove versions, all of them or none; what came from another one of them is no conflict."""
        return self._write(lambda uow: snapshots(uow, removal.remove_all(uow, refs)), dry_run=dry_run)

    def removed(self, ref: str) -> Version:
        """A version by NAME:NUMBER or digest, although it was removed; by a bare name, the last one that was."""
        return self._read(lambda uow: snapshot(uow, references.find_removed(uow, ref)))

    def restore(self, ref: str, source: Path | str | None = None) -> Version:
        """Bring a removed version back, with the bytes of `source` where its own are gone."""
        key = removal.restore(self.database, self.store, ref, None if source is None else Path(source))
        return self._read(lambda uow: snapshots(uow, [key])[0])

    # Finding

    def get(self, ref: str, *, at: datetime | None = None) -> Version:
        """The version that a reference means now, or that NAME@ALIAS meant `at` a moment.

        Raises InvalidReference, AmbiguousReference and NotFound.
        """
        if at is not None:
            return self._read(lambda uow: snapshot(uow, labels.resolve_at(uow, ref, at)))
        return self._read(lambda uow: find(uow, ref))

    def search(
        self,
        text: str | None = None,
        *,
        tags: Tags = None,
        without_tags: Tags = None,
        sort: str = Sort.NEWEST,
        limit: int = 50,
        after: str | int | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Version]:
        """The versions of one page; see `page`."""
        query = search.query_of(text, tags=tags, without_tags=without_tags, **conditions)
        return list(self._read(lambda uow: search.page(uow, query, sort=sort, limit=limit, after=after)).versions)

    def page(
        self,
        text: str | None = None,
        *,
        tags: Tags = None,
        without_tags: Tags = None,
        sort: str = Sort.NEWEST,
        limit: int = 50,
        after: str | int | None = None,
        counted: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Page:
        """The versions that meet every condition, with the cursor of the next page and, where asked, their number.

        `text` is a query (registry.search.query); `tags` are KEY -> VALUE, or a list of KEY and KEY=VALUE. `sort` is
        newest, oldest, name or relevance. `after` is a page's cursor; in the orders by age an id will do. Archived
        versions come only where `state` says so, removed ones never. Raises InvalidQuery and InvalidName.
        """
        query = search.query_of(text, tags=tags, without_tags=without_tags, **conditions)
        return self._read(lambda uow: search.page(uow, query, sort=sort, limit=limit, after=after, counted=counted))

    def select(self, *refs: str, where: str | None = None) -> list[Version]:
        """The versions that references and the query `where` name together, each once; 10,000 at most."""
        return self._read(lambda uow: snapshots(uow, editing.chosen(uow, refs, where)))

    def count(self, text: str | None = None, **conditions: Unpack[Conditions]) -> int:
        """How many versions meet every condition, counted up to 10,001."""
        query = search.query_of(text, **conditions)
        return self._read(lambda uow: search.count(uow, query))

    def fits(self, ref: str, *, text: str | None = None, limit: int = 50) -> tuple[fitting.Fit, ...]:
        """What fits: vectors for a base, bases for a vector, by modules and shapes, each with the reasons.

        Of the vectors for a base only those that the query `text` finds, where there is one.

        Raises Refused for a version that is neither and for a base whose modules are not known, and formats' errors.
        """
        version = self.get(ref)
        tables = all_architectures(self.architectures())
        if version.kind == Kind.BASE:
            return self._read(lambda uow: fitting.vectors_for(uow, version, tables, limit, text))
        fitting.require_vector(version)
        found = fittings(self.file(version), tables)
        return self._read(lambda uow: fitting.bases_for(uow, version, found, limit))

    def bases(self, family: str) -> list[Version]:
        """The base that each model of that family offers."""
        return self._read(lambda uow: search.bases(uow, family))

    def architectures(self) -> list[Architecture]:
        """The module tables of imported bases that no shipped table covers."""
        return registered_architectures(self.database)

    def lineage(self, ref: str, *, depth: int | None = None, limit: int = lineage.LARGEST) -> Lineage:
        """What a version was made from and what was made from it, `depth` steps far; at most `limit` each way."""
        return self._read(lambda uow: lineage.lineage(uow, ref, depth, limit))

    def history(self, model: str | None = None, *, limit: int = 1_000, after: int | None = None) -> list[Event]:
        """What happened to a model and its versions, or to everything, oldest first.

        `after` is the id of the last event seen.
        """
        return self._read(lambda uow: history(uow, model, limit=limit, after=after))

    def alias_at(self, model: str, name: str, when: datetime) -> Version | None:
        """The version that an alias meant at a moment (with its time zone), None where it meant nothing."""
        return self._read(lambda u: snapshot(u, row) if (row := labels.alias_at(u, model, name, when)) else None)

    # Naming and life

    def edit(
        self, *refs: str, changes: Mapping[str, Any], where: str | None = None, dry_run: bool = False
    ) -> list[Version]:
        """Change what is said of versions and of their models: all of them, or none where one is refused.

        `refs` and the versions that the query `where` finds, 10,000 at most. Of the model: title, description, license,
        license_flags, nsfw. Of the version: author, note, trigger_words, recommended_strength, recommended_low,
        recommended_high, sampling, tags (KEY -> VALUE, None to take it off). With `dry_run` nothing is kept.
        """
        return self._write(lambda uow: snapshots(uow, editing.edit(uow, refs, where, changes)), dry_run=dry_run)

    def favourite(self, ref: str, *, principal: str | None = None) -> Version:
        """Keep the model of a version at hand for a principal: the actor where none is named."""
        return self._change(lambda uow: favourites.set_favourite(uow, ref, principal, wanted=True))

    def unfavourite(self, ref: str, *, principal: str | None = None) -> Version:
        """Keep the model of a version at hand no longer."""
        return self._change(lambda uow: favourites.set_favourite(uow, ref, principal, wanted=False))

    def rename(self, model: str, name: str, *, dry_run: bool = False) -> None:
        """Call a model `name` from now on; nothing else changes. With `dry_run` only say whether it could be."""
        self._write(lambda uow: labels.rename(uow, model, name), dry_run=dry_run)

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

    def publish(self, ref: str, *, despite: str | None = None) -> Version:
        """Offer a version by its model's bare name, its files frozen from now on.

        Raises LicenseConflict, unless `despite` says why it is published all the same; history keeps the reason.
        """
        return self._change(lambda uow: labels.publish(uow, ref, despite))

    def license_report(self, ref: str) -> LicenseReport:
        """The terms that a version is under through what it was made from, and where they contradict its own."""
        return self._read(lambda uow: license_report(uow, ref))

    def deprecate(self, ref: str) -> Version:
        """Offer a version no longer, while everything that names it goes on working."""
        return self._change(lambda uow: labels.set_state(uow, ref, State.DEPRECATED))

    def archive(self, ref: str) -> Version:
        """Hide a version from search and bare names."""
        return self._change(lambda uow: labels.set_state(uow, ref, State.ARCHIVED))

    def link(self, child: str, parent: str, relation: str, weight: float | None = None, position: int = 0) -> None:
        """Record that `child` came from `parent`: a reference, `dataset:NAME`, `job:NUMBER` or `external:TEXT`."""
        edge = Parent(parent, relation, weight, position)
        self._write(lambda uow: lineage.link(uow, references.resolve(uow, child), edge))

    # Provenance

    def add_dataset(
        self,
        name: str,
        fingerprint: str,
        uri: str,
        license: str | None = None,
        **facts: Unpack[DatasetFacts],
    ) -> Dataset:
        """Record a data set by the sha256 that is its fingerprint; `.ref` is how an edge names it."""
        found = Dataset(name, fingerprint, uri, license, **facts)
        return self._write(lambda uow: provenance.add_dataset(uow, found))

    def dataset(self, ref: str) -> Dataset:
        """The data set that an edge names."""
        return self._read(lambda uow: provenance.dataset_of(uow, ref))

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
        self,
        subject: Version | str,
        settings: Mapping[str, Any],
        picture: Path | bytes,
        metrics: Mapping[str, Any],
        *,
        key: str | None = None,
        lease: Lease | None = None,
    ) -> Preview:
        """Keep a picture of what `subject` paints: a version, or the sha256 of a recorded recipe.

        `key` is the digest of all that decides its pixels: `pictures` finds it by that. With `lease` it is the work of
        a job, refused with LeaseLost once the lease is over.
        """
        said = dict(settings), dict(metrics)
        return stored.put_blob(
            self.database,
            self.store,
            picture,
            lambda uow, sha256: previews.add_preview(uow, _ref(subject), sha256, *said, key=key, lease=lease),
        )

    def record_push(self, version: Version | str, repo: str, commit: str, files: Mapping[str, str]) -> None:
        """Record which commit of a Hub repository holds a version: path there -> the Hub's hash of the file."""
        self._write(lambda uow: pushes.record_push(uow, _ref(version), repo, commit, files))

    def last_push(self, model: str, repo: str | None = None) -> pushes.Push | None:
        """The newest push of any version of a model, to `repo` or to any repository; None where there was none."""
        return self._read(lambda uow: pushes.last_push(uow, model, repo))

    def previews(self, subject: Version | str, *, limit: int = 50) -> list[Preview]:
        """The pictures of a version or a recipe, newest first."""
        return self._read(lambda uow: previews.previews(uow, _ref(subject), limit))

    def pictures(self, keys: Iterable[str]) -> dict[str, Preview]:
        """Key -> the newest picture that was kept under it; keys without one are left out."""
        return self._read(lambda uow: previews.pictures(uow, keys))

    def record_metrics(self, key: str, metrics: Mapping[str, Any]) -> Preview:
        """Add numbers to those of the newest picture of a key. Raises NotFound."""
        return self._write(lambda uow: previews.record_metrics(uow, key, dict(metrics)))

    def _read(self, query: Callable[[UnitOfWork], T]) -> T:
        with self.database.reading() as uow:
            return query(uow)

    def _write(self, change: Callable[[UnitOfWork], T], *, dry_run: bool = False) -> T:
        with self.database.writing() as uow:
            result = change(uow)
            if not dry_run:
                uow.commit()
        return result

    def _change(self, change: Callable[[UnitOfWork], VersionRow]) -> Version:
        return self._write(lambda uow: snapshot(uow, change(uow)))


def _ref(subject: Version | str) -> str:
    return subject if isinstance(subject, str) else subject.ref
