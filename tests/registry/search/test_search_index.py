"""The index is always what a rebuild would make of the tables, whoever changed them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry import Registry
from registry.unit_of_work import UnitOfWork

Write = Callable[..., Path]


@pytest.fixture
def note(registry: Registry, tmp_path: Path) -> Callable[..., str]:
    """note(name, **said) -> the reference of a small version."""

    def write(name: str, **said: Any) -> str:
        path = tmp_path / f"{name}.txt"
        path.write_text(name)
        return registry.add(path, kind="other", name=name, **said).ref

    return write


def _stale(uow: UnitOfWork) -> list[Any]:
    """Entries that differ from what the view says of the tables, in either direction."""
    mine, theirs = "SELECT * FROM search_entry", "SELECT * FROM search_document"
    return [
        *uow.session.execute(text(f"{mine} EXCEPT {theirs}")).all(),
        *uow.session.execute(text(f"{theirs} EXCEPT {mine}")).all(),
    ]


def _require_true(registry: Registry) -> None:
    with registry.database.writing() as uow:
        assert _stale(uow) == []
        if registry.database.engine.dialect.name == "sqlite":
            for table in ("search_text", "search_trigram"):
                uow.session.execute(text(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)"))


def _run(*statements: str) -> Callable[[Registry], None]:
    """Somebody else writes to the database."""

    def change(registry: Registry) -> None:
        with registry.database.writing() as uow:
            for statement in statements:
                uow.session.execute(text(statement))
            uow.commit()

    return change


CHANGES: dict[str, Callable[[Registry], object]] = {
    "a tag is put": lambda registry: registry.tag("one", "set", "yes"),
    "a tag is changed": lambda registry: registry.tag("one", "set", "no"),
    "a tag moves to another version": _run("UPDATE tag SET version_id = 2 WHERE key = 'set'"),
    "a tag is taken off": lambda registry: registry.untag("two", "set"),
    "an alias is set": lambda registry: registry.alias("one", "production"),
    "an alias is dropped": lambda registry: registry.unalias("one", "production"),
    "a model is renamed": lambda registry: registry.rename("one", "first"),
    "a model is edited": lambda registry: registry.edit("first", changes={"title": "Größe", "nsfw": True}),
    "a version is edited": lambda registry: registry.edit("first", changes={"note": "blue", "trigger_words": ["zap"]}),
    "a model is favoured": lambda registry: registry.favourite("first", principal="eve"),
    "a model is favoured no longer": lambda registry: registry.unfavourite("first", principal="eve"),
    "a base is linked": lambda registry: registry.link("first", "two", "adapter_of"),
    "an outside base is linked": lambda registry: registry.link("first", "external:x/y", "adapter_of", position=1),
    "a version is archived": lambda registry: registry.archive("first:1"),
    "a version is published again": lambda registry: registry.publish("first:1"),
    "facts are written": _run(
        "INSERT INTO adapter_facts (version_id, identifier, kind, family, adapter, layout, rank, modules, parameters, "
        "identification) VALUES (1, '1', 'vector', 'sd15', 'lora', 'kohya', 8, 1, 1, '{}')"
    ),
    "facts are changed": _run("UPDATE adapter_facts SET family = 'sdxl' WHERE version_id = 1"),
    "a draft's facts go": _run(
        "INSERT INTO version (id, model_id, number, digest, state, trigger_words, sampling, created_at) "
        f"SELECT 99, model_id, 99, '{'ab' * 32}', 'draft', trigger_words, sampling, created_at "
        "FROM version WHERE id = 1",
        "INSERT INTO adapter_facts (version_id, identifier, kind, family, adapter, layout, modules, parameters, "
        "identification) VALUES (99, '1', 'vector', 'sd15', 'lora', 'kohya', 1, 1, '{}')",
        "DELETE FROM adapter_facts WHERE version_id = 99",
    ),
    "a draft goes": _run("DELETE FROM version WHERE id = 99"),
    "a version is removed": lambda registry: registry.remove("first"),
    "a version is restored": lambda registry: registry.restore("first:1"),
}


@pytest.mark.both_databases
def test_after_every_change_the_index_is_what_a_rebuild_would_make(
    registry: Registry, note: Callable[..., str]
) -> None:
    note("one", tags={"a": "b"}, trigger_words=["cut"], license="mit")
    note("two")
    _require_true(registry)
    for change in CHANGES.values():
        change(registry)
        _require_true(registry)
    found = {
        "größe": ["first"],
        "grosse": [],
        "GROSSE": [],
        "grö": ["first"],
        "gro": ["first"],
        "zap": ["first"],
        "blue": ["first"],
        "base:two": ["first"],
        "base:x/y": ["first"],
        "nsfw:yes": ["first"],
        "name:one": [],
        "set": [],
        "license:none": ["two"],
    }
    assert {query: [version.model for version in registry.search(query)] for query in found} == found


@pytest.mark.both_databases
def test_a_draft_that_is_deleted_leaves_no_entry(registry: Registry, note: Callable[..., str]) -> None:
    note("keep")
    registry.edit(note("gone", draft=True), changes={"tags": {"a": "b"}})
    with registry.database.writing() as uow:
        key = registry.get("gone").id
        for table in ("tag", "origin", "artifact"):
            uow.session.execute(text(f"DELETE FROM {table} WHERE version_id = :id"), {"id": key})
        on_sqlite = registry.database.engine.dialect.name == "sqlite"
        off = "DROP TRIGGER event_is_never_updated" if on_sqlite else "ALTER TABLE event DISABLE TRIGGER USER"
        uow.session.execute(text(off))
        uow.session.execute(text("UPDATE event SET version_id = NULL WHERE version_id = :id"), {"id": key})
        uow.session.execute(text("DELETE FROM version WHERE id = :id"), {"id": key})
        assert _stale(uow) == []
        assert uow.session.execute(text("SELECT count(*) FROM search_entry")).scalar_one() == 1


@pytest.mark.both_databases
def test_odd_texts_are_indexed_as_they_are(registry: Registry, note: Callable[..., str]) -> None:
    odd = "quote ' \" back\\slash % _ \u00e9 \u732b (a OR b) NEAR/2 -x ^y"
    note("odd", title=odd, description="x" * 200_000, tags={"k ' \"": odd})
    _require_true(registry)
    assert [version.model for version in registry.search(tags={"k ' \"": odd})] == ["odd"]
    assert [version.model for version in registry.search('"(a OR b) NEAR/2"')] == ["odd"]
    assert [version.model for version in registry.search("*back\\slash*")] == ["odd"]
    assert [version.model for version in registry.search("\u732b")] == ["odd"]


ODD_WORDS = (
    *("c++", "foo@bar.com", "http://example.org/a?b=c", "a_b", "3.5e10", "-7", "+5", "1-2", "v1.0.2", "don't", "a&b|c"),
    *("\u00bd", "x\u00b2", "\u65e5\u672c\u8a9e", "Stra\u00dfe", "na\u00efve", "\u0130stanbul", "\ufb01ne", "\u20acuro"),
    *(
        "\U0001f642face",
        "\u03a9mega",
        "\u0663\u0664",
        "e\u0301t\u00e9",
        "a\u00a0b",
        "en\u2013dash",
        "\u4f60\u597d\uff0c\u4e16\u754c",
    ),
)


@pytest.mark.both_databases
def test_a_version_is_found_by_every_text_that_its_title_says(registry: Registry, note: Callable[..., str]) -> None:
    for number, word in enumerate(ODD_WORDS):
        note(f"odd-{number}", title=f"before {word} after")
    lost = {
        said
        for number, word in enumerate(ODD_WORDS)
        for said in (f'"{word}"', f'"before {word}"', f'"{word} after"')
        if f"odd-{number}" not in [version.model for version in registry.search(said)]
    }
    assert lost == set()


def test_newest_pages_are_read_off_the_index_without_sorting(registry: Registry) -> None:
    from registry.search.matches import match_of
    from registry.search.query import parse_query
    from registry.search.sqlite import source_of, spelled

    with registry.database.reading() as uow:
        for said in ("papercut", "papercutting", "kind:style -tag:nsfw", 'tag:a=b "two words" rank:8'):
            source, values = source_of(spelled(uow, match_of(uow, parse_query(said))), None)
            plan = uow.session.execute(
                text(f"EXPLAIN QUERY PLAN SELECT hit.rowid {source} ORDER BY hit.rowid DESC LIMIT 50"), values
            ).all()
            assert [row[-1].split(" ")[0] for row in plan] == ["SCAN"], plan
            assert "VIRTUAL TABLE INDEX" in plan[0][-1]
