from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from registry import InvalidName, InvalidQuery, Registry
from registry.tables import BlobHashRow, BlobRow

Write = Callable[..., Path]


@pytest.fixture
def library(registry: Registry, base: str, write_vector: Write) -> Registry:
    """The tiny base, three style vectors and an acceleration vector."""
    kinds = {"papercut": "style", "pastel_art": "style", "ink": "style", "lcm-tiny": "acceleration"}
    for seed, (name, kind) in enumerate(kinds.items()):
        registry.add(write_vector(name, seed=seed), kind=kind, base=base, title=f"Title of {name.upper()}")
    return registry


def _names(registry: Registry, *args: str, **conditions: object) -> list[str]:
    return [version.model for version in registry.search(*args, **conditions)]  # type: ignore[arg-type]


@pytest.mark.both_databases
def test_without_conditions_everything_is_found_newest_first(library: Registry) -> None:
    assert _names(library) == ["lcm-tiny", "ink", "pastel_art", "papercut", "tiny"]


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("paper", ["papercut"]),
        ("pa*", ["pastel_art", "papercut"]),
        ("*art", ["pastel_art"]),
        ("title of INK", ["ink"]),
        ("pastel_", ["pastel_art"]),
        ("l_m", []),
        ("100%", []),
        ("l\\m", []),
    ],
)
def test_text_is_looked_for_in_names_and_titles_and_only_a_star_is_special(
    library: Registry, wanted: str, found: list[str]
) -> None:
    assert _names(library, wanted) == found


@pytest.mark.both_databases
def test_the_beginning_of_a_long_word_finds_all_that_goes_on_with_it(library: Registry) -> None:
    for number, ending in enumerate(("", "s", "shop", *map(str, range(40)))):
        said = "Kaleidoscope" + ending if number < 3 else f"extraordinarily{ending}"
        library.edit("ink", changes={"note": f"{library.get('ink').note or ''} {said}"})
    library.edit("papercut", changes={"title": "Kaleidoscopes, two"})
    assert _names(library, "kaleidoscope") == ["ink", "papercut"]
    assert _names(library, "KALEIDOSCOPES") == ["ink", "papercut"]
    assert _names(library, "kaleidoscopesh") == ["ink"]
    assert _names(library, '"kaleidoscope"') == ["ink"]
    assert _names(library, "kaleidoscopic") == []
    assert _names(library, "extraordinarily3* -papercut") == ["ink"]
    assert _names(library, "extraordinaril") == ["ink"]
    assert _names(library, "kaleidoscopes,tw") == ["papercut"]


@pytest.mark.both_databases
def test_conditions_are_all_met(library: Registry) -> None:
    library.tag("ink", "approved", "yes")
    library.tag("papercut", "approved", "no")
    assert _names(library, kind="acceleration") == ["lcm-tiny"]
    assert _names(library, family="tiny", kind="style") == ["ink", "pastel_art", "papercut"]
    assert _names(library, family="sd15") == []
    assert _names(library, tags={"approved": "yes"}) == ["ink"]
    assert _names(library, "p*", tags={"approved": "yes"}) == []


@pytest.mark.both_databases
def test_archived_versions_are_shown_only_when_asked_for(library: Registry) -> None:
    library.archive("ink")
    assert "ink" not in _names(library)
    assert _names(library, state="archived") == ["ink"]


@pytest.mark.both_databases
def test_pages_by_key_show_everything_once_even_while_something_is_added(
    library: Registry, write_vector: Write
) -> None:
    seen, after = [], None
    while page := library.search(limit=2, after=after):
        seen += [version.model for version in page]
        after = page[-1].id
        library.add(write_vector("late", seed=100 + after), kind="style")
    assert seen == ["lcm-tiny", "ink", "pastel_art", "papercut", "tiny"]


@pytest.mark.both_databases
def test_a_version_comes_with_everything_that_is_known_about_it(library: Registry) -> None:
    library.alias("ink", "production")
    library.tag("ink", "approved", "yes")
    (found,) = library.search("ink")
    assert found == library.get("ink")
    assert (found.aliases, found.tags, len(found.artifacts)) == (("production",), {"approved": "yes"}, 1)


@pytest.mark.both_databases
def test_every_hash_by_which_a_file_is_known_finds_its_versions(library: Registry) -> None:
    ink = library.get("ink")
    with library.database.writing() as uow:
        blob = uow.session.get_one(BlobRow, ink.artifacts[0].sha256)
        known = {"version": ink.digest, "sha256": blob.sha256, "blake3": blob.blake3, "autov1": "0a1b2c3d4e"}
        known |= {"data": str(blob.data_sha256), "tensors": str(blob.tensor_hash)}
        uow.session.add(BlobHashRow(blob_sha256=blob.sha256, kind="autov1", value=known["autov1"]))
        uow.commit()
    lost = [what for what, value in known.items() if _names(library, hash=value[:10].upper()) != ["ink"]]
    assert lost == []
    assert _names(library, f"hash:{ink.digest[:10]} -ink") == []
    assert _names(library, hash="0123456789") == []
    with pytest.raises(InvalidQuery, match="expected 8 hexadecimal digits"):
        library.search(hash=ink.digest[:7])


@pytest.mark.both_databases
def test_getting_a_version_takes_one_query(library: Registry) -> None:
    library.alias("ink", "production")
    library.tag("ink", "approved", "yes")
    asked: list[str] = []

    @event.listens_for(library.database.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    for ref in ("ink", "ink:1", "ink@production"):
        asked.clear()
        assert library.get(ref).tags == {"approved": "yes"}
        assert sum("SELECT" in statement for statement in asked) == 1, asked
    event.remove(library.database.engine, "before_cursor_execute", note)


@pytest.mark.both_databases
def test_texts_that_no_database_can_hold_are_refused(library: Registry) -> None:
    for said in ("in\0k", "\udcff*abc", '"\ud800"', "tag:\udcff"):
        with pytest.raises(InvalidQuery, match="no Unicode"):
            library.search(said)


@pytest.mark.both_databases
def test_a_word_that_means_nothing_is_refused(library: Registry) -> None:
    for condition in ({"kind": "lora"}, {"state": "gone"}, {"limit": 0}, {"limit": 1_001}):
        with pytest.raises(InvalidName, match="expected"):
            library.search(**condition)  # type: ignore[arg-type]


@pytest.mark.both_databases
def test_a_family_offers_its_bases_by_what_their_names_mean(registry: Registry, write_base: Write) -> None:
    registry.add(write_base("tiny"), kind="base")
    registry.add(write_base("tiny", seed=1), kind="base")
    registry.add(write_base("tuned", seed=2), kind="base")
    registry.deprecate("tiny:2")
    assert [base.ref for base in registry.bases("tiny")] == ["tiny:1", "tuned:1"]
    assert registry.bases("sd15") == []


def test_every_condition_is_served_by_an_index(library: Registry) -> None:
    statements = {
        "SELECT id FROM version WHERE state = 'draft'": "ix_version_state",
        "SELECT version_id FROM adapter_facts WHERE family = 'sd15'": "ix_adapter_facts_family",
        "SELECT version_id FROM tag WHERE key = 'a' AND value = 'b'": "ix_tag_key_value",
        "SELECT id FROM model WHERE kind = 'style'": "ix_model_kind",
        "SELECT id FROM version WHERE digest >= 'ab' AND digest < 'abg'": "ix_version_digest",
        "SELECT version_id FROM artifact WHERE blob_sha256 >= 'ab' AND blob_sha256 < 'abg'": "ix_artifact_blob_sha256",
        "SELECT id FROM edge WHERE parent_id = 1": "ix_edge_parent_id",
        "SELECT id FROM event WHERE model_id = 1 AND id > 5": "ix_event_model_id_id",
    }
    with library.database.reading() as uow:
        for statement, index in statements.items():
            plan = uow.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
            assert any(index in row[-1] for row in plan), (statement, plan)
