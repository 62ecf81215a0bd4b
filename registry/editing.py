"""Editing what is said of models and versions, of one or of many at once; bytes and numbers never change."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from registry.dialect import require_json
from registry.errors import InvalidName, InvalidQuery, Refused
from registry.facts import VECTOR
from registry.history import record, record_model
from registry.labels import drop_tag, set_tag
from registry.licenses import canonical_license
from registry.references import resolve
from registry.search.query import parse_query
from registry.search.search import ids
from registry.tables import AdapterFactsRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import CORRECTABLE, COUNTED, Kind

Check = Callable[[Any], Any]


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise TypeError("a text")
    return said


def _maybe_text(said: Any) -> str | None:
    return None if said is None or said == "" else _text(said)


def _license(said: Any) -> str | None:
    return None if said is None or said == "" else canonical_license(_text(said))


def _flag(said: Any) -> bool:
    if not isinstance(said, bool):
        raise TypeError("true or false")
    return said


def _number(said: Any) -> float | None:
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        raise TypeError("a finite number or nothing")
    return float(said)


def _words(said: Any) -> list[str]:
    is_list = isinstance(said, list | tuple)
    if not is_list or not all(isinstance(word, str) and word.strip() for word in said):
        raise TypeError("a list of words")
    return list(dict.fromkeys(word.strip() for word in said))


def _kind(said: Any) -> Kind:
    if not isinstance(said, str) or said not in CORRECTABLE:
        raise TypeError(" or ".join(sorted(CORRECTABLE)))
    return Kind(said)


def _object(said: Any) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise TypeError("an object")
    return dict(said)


def _tags(said: Any) -> dict[str, str | None]:
    if not isinstance(said, Mapping):
        raise TypeError("KEY -> VALUE, or KEY -> None to take it off")
    return {_text(key): None if value is None else _text(value) for key, value in said.items()}


OF_MODEL: Mapping[str, Check] = {
    "title": _text,
    "description": _text,
    "license": _license,
    "license_flags": _object,
    "nsfw": _flag,
    "kind": _kind,
}
OF_VERSION: Mapping[str, Check] = {
    "author": _maybe_text,
    "note": _maybe_text,
    "trigger_words": _words,
    "recommended_strength": _number,
    "recommended_low": _number,
    "recommended_high": _number,
    "sampling": _object,
}
TAGS = "tags"
"""KEY -> VALUE puts a tag, KEY -> None takes it off."""

EDITABLE = (*OF_MODEL, *OF_VERSION, TAGS)


def chosen(uow: UnitOfWork, refs: Iterable[str], where: str | None) -> list[int]:
    """The ids that references and a query name together. Raises NotFound, and InvalidQuery where that is too many."""
    found = [resolve(uow, ref).id for ref in refs]
    if where is not None:
        query = parse_query(where)
        if not query.terms and not query.conditions:
            raise InvalidQuery("where: an empty query means everything. Say what is meant, such as kind:style.")
        found += ids(uow, query, limit=COUNTED + 1)
        if len(found) > COUNTED:
            raise InvalidQuery(f"where {where!r}: more than {COUNTED:,} versions. Narrow it, and edit part by part.")
    return list(dict.fromkeys(found))


def edit(uow: UnitOfWork, refs: Sequence[str], where: str | None, changes: Mapping[str, Any]) -> list[int]:
    """Write `changes` to the chosen versions and to their models; what is so already leaves no event. Their ids.

    Raises InvalidName for a field that there is not or a value that it cannot have, and Refused for a kind that the
    content of a model cannot be of.
    """
    keys, checked = chosen(uow, refs, where), _checked(changes)
    models: dict[int, ModelRow] = {}
    for version in _rows(uow, keys):
        models[version.model_id] = version.model
        _write(version, {key: checked[key] for key in OF_VERSION if key in checked}, _record_version(uow, version))
        _require_range(version)
        for key, value in checked.get(TAGS, {}).items():
            ref = f"{version.model.slug}:{version.number}"
            drop_tag(uow, ref, key) if value is None else set_tag(uow, ref, key, value)
    for model in models.values():
        if "kind" in checked:
            _require_correctable(uow, model, checked["kind"])
        _write(model, {key: checked[key] for key in OF_MODEL if key in checked}, _record_model(uow, model))
    uow.session.flush()
    return keys


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(changes.keys() - set(EDITABLE))
    if unknown:
        raise InvalidName(f"edit {', '.join(unknown)}: expected {', '.join(EDITABLE)}.")
    checks = {**OF_MODEL, **OF_VERSION, TAGS: _tags}
    checked = {}
    for key, value in changes.items():
        try:
            checked[key] = checks[key](value)
        except TypeError as error:
            raise InvalidName(f"edit {key}: got {value!r}, expected {error}.") from None
        require_json(checked[key], f"edit {key}")
    return checked


def _rows(uow: UnitOfWork, keys: Sequence[int]) -> Iterable[VersionRow]:
    """The versions, some at a time."""
    for at in range(0, len(keys), 500):
        query = select(VersionRow).where(VersionRow.id.in_(keys[at : at + 500])).order_by(VersionRow.id)
        yield from uow.session.scalars(query).all()


def _write(row: ModelRow | VersionRow, said: Mapping[str, Any], note: Callable[..., None]) -> None:
    changed = {key: value for key, value in said.items() if value != getattr(row, key)}
    if not changed:
        return
    before = {key: getattr(row, key) for key in changed}
    for key, value in changed.items():
        setattr(row, key, value)
    note(before=before, after=changed)


def _record_version(uow: UnitOfWork, version: VersionRow) -> Callable[..., None]:
    return lambda **told: record(uow, "edited", version, **told)


def _record_model(uow: UnitOfWork, model: ModelRow) -> Callable[..., None]:
    return lambda **told: record_model(uow, "edited", model, **told)


def _require_correctable(uow: UnitOfWork, model: ModelRow, kind: Kind) -> None:
    """A base stays a base, and a vector of any kind must have been recognised as one."""
    if model.kind == Kind.BASE:
        raise Refused(
            f"{model.slug}: is a base, which no edit makes a {kind}. Import what is meant under its own name."
        )
    if kind == Kind.OTHER or kind == model.kind:
        return
    known = select(AdapterFactsRow.version_id).where(AdapterFactsRow.kind == VECTOR)
    strange = select(VersionRow.number).where(VersionRow.model_id == model.id, VersionRow.id.not_in(known))
    if (number := uow.session.scalar(strange.order_by(VersionRow.number).limit(1))) is not None:
        raise Refused(
            f"{model.slug}:{number}: was not recognised as a vector, so {model.slug} cannot be a {kind}. "
            f"Leave it of kind {model.kind}."
        )


def _require_range(version: VersionRow) -> None:
    low, high = version.recommended_low, version.recommended_high
    if low is not None and high is not None and low > high:
        name = f"{version.model.slug}:{version.number}"
        raise InvalidName(f"{name}: recommended range {low:g} to {high:g}, expected the lower number first.")
