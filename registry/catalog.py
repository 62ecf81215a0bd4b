"""Writing models and versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, update

from registry.blobs.staging import StagedFile
from registry.errors import Conflict, NotFound
from registry.facts import Facts, described
from registry.history import record, record_model
from registry.labels import publish_or_hold, set_tag
from registry.licenses import canonical_license
from registry.lineage import link
from registry.links import require_same_family
from registry.lookups import keep_statement
from registry.names import title_of
from registry.provenance import add_certificate
from registry.recorded_facts import add_facts, correct_facts
from registry.references import find_model
from registry.sources import SourceFile, why_left_out
from registry.states import State
from registry.submission import Submission
from registry.tables import (
    ArtifactRow,
    ModelRow,
    OriginRow,
    RecipeRow,
    VersionRow,
)
from registry.unit_of_work import UnitOfWork
from registry.values import CORRECTABLE, Kind, LeftOut, Origin

StagedFiles = Sequence[tuple[SourceFile, StagedFile]]


@dataclass(frozen=True)
class Content:
    """What is registered: staged files, the digest over them, what they are and where they came from."""

    digest: str
    files: StagedFiles
    facts: Facts | None
    origin: Origin
    left_out: tuple[str, ...]

    @property
    def named_left_out(self) -> tuple[LeftOut, ...]:
        """What is left where it is, with the reasons."""
        return tuple(LeftOut(path, why_left_out(path)) for path in self.left_out)

    @property
    def staged(self) -> list[StagedFile]:
        """The files without their names."""
        return [file for _, file in self.files]

    @property
    def only_file(self) -> str | None:
        """The sha256 of the file, None where there are several."""
        return self.files[0][1].digests.sha256 if len(self.files) == 1 else None

    @property
    def embedded(self) -> Mapping[str, Any]:
        """The metadata that the files carry."""
        return self.origin.embedded


def register(uow: UnitOfWork, said: Submission, content: Content) -> VersionRow:
    """The version of this content in this model: the one that is there, completed, or a new one with all its rows."""
    if said.base is not None and content.facts is not None and said.kind != Kind.BASE:
        require_same_family(uow, said.name, content.facts.family, said.base)
    model = find_model(uow, said.name)
    if model is not None:
        said = _as_known(said, Kind(model.kind))
    if model is None:
        version = _add_version(uow, _add_model(uow, said, content.embedded), said, content)
    else:
        _edit_model(uow, model, said)
        same = (VersionRow.model_id == model.id, VersionRow.digest == content.digest)
        there = uow.session.scalar(select(VersionRow).where(*same))
        version = there or _add_version(uow, model, said, content)
        if there is not None:
            _refuse_removed(there)
            correct_facts(uow, there, content.facts)
    ref = f"{version.model.slug}:{version.number}"
    for parent in said.parents:
        link(uow, version, parent)
    for key, value in said.tags.items():
        set_tag(uow, ref, key, value)
    if said.certificate is not None:
        add_certificate(uow, ref, said.certificate)
    keep_statements(uow, version, said, content)
    if not said.draft and version.state == State.DRAFT:
        publish_or_hold(uow, version)
    return version


def keep_statements(uow: UnitOfWork, version: VersionRow, said: Submission, content: Content) -> None:
    """Let what is known beside the bytes fill in what nobody said and the files do not say."""
    uow.session.expire(version, ["tags"])
    for statement in said.statements:
        keep_statement(uow, version, statement, content.only_file)


def _as_known(said: Submission, kind: Kind) -> Submission:
    """The submission as what its model is, where its own kind is a guess."""
    return replace(said, kind=kind) if said.kind_is_guess and {said.kind, kind} <= CORRECTABLE else said


def _add_model(uow: UnitOfWork, said: Submission, embedded: Mapping[str, Any]) -> ModelRow:
    found = described(embedded)
    model = ModelRow(
        slug=said.name,
        kind=said.kind,
        title=said.title or found.get("title") or title_of(said.name),
        description=said.description or found.get("description") or "",
        license=_canonical(said.license or found.get("license")),
        owner=uow.actor,
    )
    uow.session.add(model)
    uow.session.flush()
    record_model(uow, "created", model, after={"kind": model.kind, "title": model.title, "license": model.license})
    return model


def _canonical(license: str | None) -> str | None:
    return None if license is None else canonical_license(license)


def _edit_model(uow: UnitOfWork, model: ModelRow, said: Submission) -> None:
    """Let a model that is there have what the caller says of it. Raises Conflict for another kind."""
    if model.kind != said.kind:
        remedy = f", or correct its kind: tau edit {model.slug} --kind {said.kind}"
        raise Conflict(
            f"{model.slug!r} is of kind {model.kind}, got kind {said.kind}. Choose another name"
            f"{remedy if {model.kind, said.kind} <= CORRECTABLE else ''}."
        )
    words = {"title": said.title, "description": said.description, "license": _canonical(said.license)}
    changed = {key: value for key, value in words.items() if value is not None and value != getattr(model, key)}
    if not changed:
        return
    before = {key: getattr(model, key) for key in changed}
    for key, value in changed.items():
        setattr(model, key, value)
    record_model(uow, "edited", model, before=before, after=changed)


def _add_version(uow: UnitOfWork, model: ModelRow, said: Submission, content: Content) -> VersionRow:
    found = described(content.embedded)
    version = VersionRow(
        model=model,
        number=_next_number(uow, model),
        digest=content.digest,
        state=State.DRAFT,
        author=said.author or found.get("author"),
        note=said.note,
        recommended_strength=said.recommended_strength,
        trigger_words=list(said.trigger_words or found.get("trigger_words", ())),
        sampling=dict(said.sampling),
        recipe_id=_recipe_id(uow, said.recipe),
    )
    uow.session.add(version)
    uow.session.flush()
    _add_artifacts(uow, version, content.files)
    add_facts(uow, version, content.facts)
    _add_origin(uow, version, content.origin)
    left_out = {"left_out": list(content.left_out)} if content.left_out else {}
    came = {"digest": content.digest, "files": len(content.files), "origin": content.origin.uri, **left_out}
    record(uow, "added", version, after=came)
    return version


def _next_number(uow: UnitOfWork, model: ModelRow) -> int:
    """The number that this version gets; the next one gets the next, whoever asks, and none is ever given twice."""
    taken = update(ModelRow).where(ModelRow.id == model.id).values(next_number=ModelRow.next_number + 1)
    after: int = uow.session.execute(taken.returning(ModelRow.next_number)).scalar_one()
    return after - 1


def _add_artifacts(uow: UnitOfWork, version: VersionRow, files: StagedFiles) -> None:
    uow.session.add_all(
        ArtifactRow(
            version_id=version.id,
            path=file.path,
            role=file.role,
            blob_sha256=staged.digests.sha256,
            media_type=file.media_type,
        )
        for file, staged in files
    )
    uow.session.flush()


def _add_origin(uow: UnitOfWork, version: VersionRow, origin: Origin) -> None:
    uow.session.add(
        OriginRow(
            version_id=version.id,
            kind=origin.kind,
            uri=origin.uri,
            revision=origin.revision,
            embedded=origin.embedded,
        )
    )


def _recipe_id(uow: UnitOfWork, sha256: str | None) -> int | None:
    if sha256 is None:
        return None
    found = uow.session.scalar(select(RecipeRow.id).where(RecipeRow.sha256 == sha256))
    if found is None:
        raise NotFound(f"no recipe has sha256 {sha256}. Record it with add_recipe first.")
    return found


def _refuse_removed(version: VersionRow) -> None:
    """Content that was removed comes back by its own command alone, so that a scan does not undo a removal."""
    if version.removed_at is not None:
        name = f"{version.model.slug}:{version.number}"
        raise Conflict(
            f"{name} has this content and was removed by {version.removed_by}. "
            f"To have it back: tau restore {name} --from FILE"
        )
