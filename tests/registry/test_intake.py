import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formats import FormatError
from registry import Conflict, InvalidName, NotFound, Origin, Parent, Refused, Registry, RegistryError
from registry.jobs import Queue

Write = Callable[..., Path]
Stored = Callable[[], set[str]]


@pytest.mark.both_databases
def test_a_base_of_an_unknown_architecture_starts_a_family_called_like_its_model(
    registry: Registry, write_base: Write
) -> None:
    base = registry.add(write_base(), kind="base", name="tiny", title="Tiny base")
    assert (base.ref, base.state, base.family, base.architecture) == ("tiny:1", "published", "tiny", "tiny")
    (table,) = registry.architectures()
    assert table.name == "tiny"
    assert table.modules["unet.conv_in"].shape == (8, 4, 3, 3)
    assert [found.ref for found in registry.bases("tiny")] == ["tiny:1"]


def test_a_folder_keeps_its_paths_and_gets_a_role_for_each_component(registry: Registry, write_base: Write) -> None:
    base = registry.add(write_base(), kind="base")
    roles = {artifact.path: artifact.role for artifact in base.artifacts}
    assert roles == {
        "judge/config.json": "judge",
        "model_index.json": "config",
        "text_encoder/config.json": "text_encoder",
        "text_encoder/model.safetensors": "text_encoder",
        "unet/config.json": "unet",
        "unet/diffusion_pytorch_model.safetensors": "unet",
    }


def test_a_later_base_with_the_same_modules_is_of_the_same_family(registry: Registry, write_base: Write) -> None:
    registry.add(write_base("tiny"), kind="base")
    tuned = registry.add(write_base("tuned", seed=1), kind="base")
    assert (tuned.model, tuned.family) == ("tuned", "tiny")
    assert [table.name for table in registry.architectures()] == ["tiny"]


def test_a_version_of_a_base_with_other_modules_gets_a_family_name_that_is_free(
    registry: Registry, write_base: Write
) -> None:
    registry.add(write_base("one"), kind="base", name="tiny")
    wider = registry.add(write_base("two", width=16), kind="base", name="tiny")
    assert (wider.ref, wider.family) == ("tiny:2", "tiny-2")


def test_a_vector_is_identified_against_the_registered_bases(
    registry: Registry, base: str, write_vector: Write
) -> None:
    vector = registry.add(write_vector(rank=3), kind="style", base=base, license="openrail++")
    assert vector.facts is not None
    assert (vector.family, vector.facts["rank"], vector.facts["layout"]["value"]) == ("tiny", 3, "kohya")
    assert vector.facts["family"]["evidence"]
    assert vector.license == "openrail++"
    assert [edge.parent for edge in registry.lineage(vector.ref).edges] == [base]


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_importing_the_same_bytes_again_is_the_same_version_whatever_the_file_is_called(
    registry: Registry, write_vector: Write, tmp_path: Path
) -> None:
    path = write_vector("papercut")
    first = registry.add(path, kind="style")
    other = shutil.copy(path, tmp_path / "renamed (1).safetensors")
    again = registry.add(other, kind="style", name="papercut")
    assert (again.id, again.number) == (first.id, 1)
    assert [event.action for event in registry.history("papercut")].count("added") == 1


@pytest.mark.usefixtures("base")
def test_other_bytes_are_the_next_version(registry: Registry, write_vector: Write) -> None:
    numbers = [registry.add(write_vector(seed=seed), kind="style").number for seed in range(3)]
    assert numbers == [1, 2, 3]


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_importing_a_draft_again_without_draft_publishes_it(registry: Registry, write_vector: Write) -> None:
    draft = registry.add(write_vector(), kind="style", draft=True)
    assert draft.state == "draft"
    assert registry.add(write_vector(), kind="style").state == "published"


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_the_files_own_words_fill_in_what_the_caller_did_not_say(registry: Registry, write_vector: Write) -> None:
    metadata = {
        "modelspec.title": "Paper & Cut",
        "modelspec.author": "Bea",
        "modelspec.license": "mit",
        "modelspec.trigger_phrase": "in papercut style",
        "ss_network_dim": "2",
    }
    vector = registry.add(write_vector(metadata=metadata), kind="style", license="openrail++")
    assert (vector.title, vector.author, vector.license) == ("Paper & Cut", "Bea", "openrail++")
    assert vector.trigger_words == ("in papercut style",)
    assert vector.origin is not None
    assert vector.origin.embedded == {"weights.safetensors": metadata}


@pytest.mark.usefixtures("base")
def test_the_caller_can_say_where_a_file_came_from(registry: Registry, write_vector: Write) -> None:
    said = Origin("hub", "hf://someone/papercut", "abc123")
    vector = registry.add(write_vector(), kind="style", origin=said)
    assert vector.origin == said
    path = write_vector("other", seed=1)
    assert registry.add(path, kind="style").origin == Origin("file", str(path))


@pytest.mark.usefixtures("base")
def test_stored_bytes_are_a_copy_that_later_edits_of_the_source_do_not_reach(
    registry: Registry, write_vector: Write
) -> None:
    path = write_vector()
    before = path.read_bytes()
    vector = registry.add(path, kind="style")
    with path.open("r+b") as file:
        file.write(b"overwritten")
    stored = registry.blob_path(vector.artifacts[0].sha256)
    assert stored.read_bytes() == before
    assert vector.artifacts[0].sha256 == hashlib.sha256(before).hexdigest()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _break_header(path: Path) -> None:
    path.write_bytes((10).to_bytes(8, "little") + b"not json!!" + path.read_bytes()[50:])


def _claim_a_huge_header(path: Path) -> None:
    path.write_bytes((1 << 40).to_bytes(8, "little") + path.read_bytes()[8:])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _break_header, _claim_a_huge_header, _empty])
@pytest.mark.parametrize("kind", ["style", "other"])
@pytest.mark.usefixtures("base")
def test_a_damaged_file_is_refused_and_nothing_of_it_is_left(
    registry: Registry, write_vector: Write, stored_files: Stored, damage: Callable[[Path], None], kind: str
) -> None:
    path = write_vector()
    damage(path)
    before = stored_files()
    with pytest.raises(FormatError, match="papercut"):
        registry.add(path, kind=kind)
    assert stored_files() == before
    with pytest.raises(NotFound):
        registry.get("papercut")


def test_a_base_with_one_damaged_component_is_refused_and_nothing_of_it_is_left(
    registry: Registry, write_base: Write, stored_files: Stored
) -> None:
    folder = write_base()
    _truncate(folder / "text_encoder" / "model.safetensors")
    with pytest.raises(FormatError, match="text_encoder"):
        registry.add(folder, kind="base")
    assert stored_files() == set()
    assert registry.search() == []


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_a_refusal_inside_the_transaction_leaves_no_row_and_no_blob(
    registry: Registry, write_vector: Write, stored_files: Stored
) -> None:
    before = stored_files()
    with pytest.raises(NotFound, match="recipe"):
        registry.add(write_vector(), kind="composition", recipe="0" * 64)
    with pytest.raises(NotFound, match="data set"):
        registry.add(write_vector(), kind="style", edges=[Parent("dataset:nowhere", "trained_on")])
    assert stored_files() == before
    assert [version.kind for version in registry.search()] == ["base"]


def test_kinds_are_checked_against_what_the_content_is(
    registry: Registry, base: str, write_base: Write, write_vector: Write, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="is a vector, expected a base"):
        registry.add(write_vector(), kind="base")
    with pytest.raises(Refused, match="is a base, expected a vector"):
        registry.add(write_base(), kind="style", name="elsewhere")
    with pytest.raises(Conflict, match="is of kind base"):
        registry.add(write_vector(), kind="style", name=base.partition(":")[0])
    with pytest.raises(InvalidName, match="expected one of base, acceleration"):
        registry.add(write_vector(), kind="lora")


def test_a_vector_may_arrive_before_its_base_and_is_then_of_unknown_family(
    registry: Registry, write_vector: Write
) -> None:
    vector = registry.add(write_vector(), kind="style", base="external:someone/tiny")
    assert (vector.family, vector.architecture) == ("unknown", None)


def test_a_file_without_any_adapters_mark_is_refused_with_the_reason(registry: Registry, write_base: Write) -> None:
    weights = write_base() / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(Refused, match=r"of no known sort .*carries an adapter's mark.*expected a vector"):
        registry.add(weights, kind="style")
    assert registry.add(weights, kind="other", name="loose").kind == "other"


def test_a_vector_is_refused_under_a_base_of_another_family(
    registry: Registry, base: str, write_base: Write, write_vector: Write
) -> None:
    wide = registry.add(write_base("wide", width=16), kind="base").ref
    with pytest.raises(Refused, match="identified as a vector for tiny, but its base wide:1 is wide"):
        registry.add(write_vector(), kind="style", base=wide)
    assert registry.add(write_vector(), kind="style", base=base).family == "tiny"


def test_an_unknown_base_is_an_error_unless_it_is_said_to_be_external(
    registry: Registry, base: str, write_vector: Write
) -> None:
    with pytest.raises(NotFound, match=r"Did you mean tiny\?"):
        registry.add(write_vector(), kind="style", base="tinny")
    vector = registry.add(write_vector(), kind="style", base="external:someone/tinny")
    assert [edge.parent for edge in registry.lineage(vector.ref).edges] == ["external:someone/tinny"]
    assert base == "tiny:1"


def test_a_missing_path_and_an_illegal_name_are_errors_of_ours(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        registry.add(tmp_path / "absent.safetensors", kind="style")
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InvalidName, match="expected \\[a-z0-9\\]"):
        registry.add(tmp_path / "note.txt", kind="other", name="../etc")
    with pytest.raises(InvalidName, match="word of recipes"):
        registry.add(tmp_path / "note.txt", kind="other", name="ties")


@pytest.mark.both_databases
def test_the_work_of_a_job_is_registered_with_the_end_of_the_job(
    registry: Registry, base: str, queue: Queue, write_vector: Write
) -> None:
    job = queue.submit("style", {"steps": 3})
    lease = queue.claim("worker")
    assert lease is not None
    vector = registry.add(write_vector(), kind="style", base=base, lease=lease, result={"loss": 0.5})
    ended = queue.get(job.id)
    assert (ended.state, ended.result) == ("succeeded", {"loss": 0.5, "version": vector.ref})
    assert vector.origin == Origin("job", job.ref)
    assert {(edge.relation, edge.parent) for edge in registry.lineage(vector.ref).edges} == {
        ("adapter_of", base),
        ("produced_by", job.ref),
    }


def test_every_refusal_is_a_registry_error() -> None:
    assert all(issubclass(error, RegistryError) for error in (Conflict, InvalidName, NotFound, Refused))


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_embedded_metadata_is_kept_verbatim(registry: Registry, write_vector: Write) -> None:
    said = {
        "zeta": "1.0",
        "alpha": '{"b": 1, "a": 2, "b": 3}',
        "odd": "a\x00b \U0001f600",
        "modelspec.title": "Paper\x00cut",
    }
    version = registry.add(write_vector(metadata=said), kind="style")
    kept = registry.get(version.ref).origin
    assert kept is not None
    assert list(kept.embedded.values()) == [said]
    assert [list(metadata) for metadata in kept.embedded.values()] == [list(said)]
    assert version.title == "Papercut"


@pytest.mark.both_databases
@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_a_text_that_no_database_can_hold_is_refused_and_nothing_is_left(
    registry: Registry, tmp_path: Path, stored_files: Stored, text: str
) -> None:
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InvalidName, match="Take it out"):
        registry.add(tmp_path / "note.txt", kind="other", title=text)
    assert registry.search() == []
    assert stored_files() == set()
    registry.add(tmp_path / "note.txt", kind="other")
    with pytest.raises(InvalidName, match="Take it out"):
        registry.tag("note", "key", text)


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"trigger_words": ["a\0b"]}, r"JSON\[0\] .* holds a NUL character. Take it out"),
        ({"trigger_words": ["a\ud800b"]}, "is no Unicode"),
        ({"sampling": {"steps": float("nan")}}, "JSON.steps: got nan, expected a finite number"),
        ({"sampling": {"steps": object()}}, "JSON.steps: got .*, expected an object, a list"),
    ],
)
def test_json_that_no_database_can_hold_is_refused_and_nothing_is_left(
    registry: Registry, tmp_path: Path, stored_files: Stored, said: dict[str, Any], reason: str
) -> None:
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InvalidName, match=reason):
        registry.add(tmp_path / "note.txt", kind="other", **said)
    assert registry.search() == []
    assert stored_files() == set()


@pytest.mark.both_databases
def test_a_file_imported_again_after_its_model_was_renamed_is_that_model_unless_it_is_given_a_name(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("x")
    first = registry.add(tmp_path / "note.txt", kind="other")
    registry.rename("note", "letter")
    assert registry.add(tmp_path / "note.txt", kind="other").id == first.id
    assert [version.ref for version in registry.search()] == ["letter:1"]
    assert registry.add(tmp_path / "note.txt", kind="other", name="note").ref == "note:1"
    (tmp_path / "copy.txt").write_text("x")
    assert registry.add(tmp_path / "copy.txt", kind="other").ref == "copy:1"
    registry.remove("letter:1")
    with pytest.raises(Conflict, match="tau restore letter:1"):
        registry.add(tmp_path / "note.txt", kind="other", name="letter")
