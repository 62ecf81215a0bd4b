"""Asking an outside service by hash: off by default, never destructive, reversible."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import NotFound, Registry
from workbench.errors import LookupsAreOff, NotImportable
from workbench.intake.hash_lookups import look_up, lookups_of, unlink
from workbench.intake.importing import import_file

Answer = Callable[..., None]


@pytest.fixture
def ink(based: Registry, vector_file: Path) -> str:
    """A vector without a word about it; its reference."""
    return import_file(based, vector_file, name="ink").ref


@pytest.fixture
def sha256(vector_file: Path) -> str:
    """The digest of that vector's file."""
    return hashlib.sha256(vector_file.read_bytes()).hexdigest()


@pytest.fixture
def answer(web: Any, sha256: str) -> Answer:
    """answer(status=200, body=None, **changes) decides what the service says about the vector."""
    page = type(web.answer("/nowhere"))

    def put(status: int = 200, body: bytes | None = None, **changes: Any) -> None:
        found = {
            "id": 5,
            "modelId": 7,
            "name": "v1",
            "trainedWords": ["inky"],
            "model": {
                "name": "Ink",
                "tags": ["style"],
                "nsfw": True,
                "description": "<p>wet</p>",
                "allowDerivatives": False,
            },
            "files": [{"hashes": {"SHA256": sha256.upper()}}],
            **changes,
        }
        content = json.dumps(found).encode() if body is None else body
        web.pages[f"/api/v1/model-versions/by-hash/{sha256.upper()}"] = page(content, status)

    return put


@pytest.fixture
def ask(based: Registry, web: Any, ink: str) -> Callable[[], Any]:
    """Look the vector up at the test's service."""
    return lambda: look_up(based, ink, endpoint=f"{web.url}/api/v1")


def facts(registry: Registry, ref: str) -> tuple[Any, ...]:
    """What a look-up may fill in."""
    version = registry.get(ref)
    return version.title, version.description, version.trigger_words, dict(version.tags)


UNTOLD = ("ink", "", (), {})
TOLD = ("Ink - v1", "wet", ("inky",), {"style": ""})


def test_look_ups_are_off_until_a_service_is_named(based: Registry, web: Any, ink: str) -> None:
    with pytest.raises(LookupsAreOff, match="TAU_LOOKUP_URL"):
        look_up(based, ink)
    assert web.asked == []


def test_the_service_of_the_settings_is_asked_by_sha256_and_nothing_else_is_told_to_it(
    based: Registry, web: Any, ink: str, sha256: str, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer()
    monkeypatch.setenv("TAU_LOOKUP_URL", f"{web.url}/api/v1/")
    assert look_up(based, ink).status == "found"
    assert web.asked == [f"GET /api/v1/model-versions/by-hash/{sha256.upper()}"]


def test_a_file_whose_header_was_edited_is_found_by_its_data(
    based: Registry, web: Any, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    edited = lora(1, {"modelspec.title": "mine"})
    (tmp_path / "edited.safetensors").write_bytes(edited)
    ref = import_file(based, tmp_path / "edited.safetensors").ref
    data = hashlib.sha256(edited[8 + int.from_bytes(edited[:8], "little") :]).hexdigest()[:12].upper()
    found = {
        "id": 5,
        "modelId": 7,
        "model": {"name": "Ink"},
        "files": [{"hashes": {"SHA256": "0" * 64, "AutoV3": data}}],
    }
    page = type(web.answer("/nowhere"))
    web.pages[f"/model-versions/by-hash/{data}"] = page(json.dumps(found).encode())
    assert look_up(based, ref, endpoint=web.url).verdict == "found"
    found["files"] = [{"hashes": {"AutoV3": "0" * 12}}]
    web.pages[f"/model-versions/by-hash/{data}"] = page(json.dumps(found).encode())
    assert look_up(based, ref, endpoint=web.url).verdict == "missing"


def test_an_answer_is_kept_and_fills_in_what_is_blank(
    based: Registry, ink: str, answer: Answer, ask: Callable[[], Any]
) -> None:
    answer()
    assert facts(based, ink) == UNTOLD
    got = ask()
    assert (got.verdict, got.uri) == ("found", "https://civitai.com/models/7?modelVersionId=5")
    assert got.document["model"]["name"] == "Ink"
    assert facts(based, ink) == TOLD
    assert {"title", "description", "trigger_words", "tags", "nsfw", "license_flags"} == set(got.filled)


def test_what_is_known_here_is_never_replaced(based: Registry, vector_file: Path, answer: Answer, web: Any) -> None:
    ref = import_file(based, vector_file, name="ours", title="Our ink", trigger_words=("ours",)).ref
    answer()
    look_up(based, ref, endpoint=f"{web.url}/api/v1")
    assert facts(based, ref) == ("Our ink", "wet", ("ours",), {"style": ""})


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (404, b"", "missing"),
        (500, b"", "failed"),
        (200, b"<html>", "failed"),
        (200, b"{}", "failed"),
        (403, b"", "failed"),
    ],
)
def test_a_later_failure_erases_no_fact_and_no_answer(
    based: Registry, ink: str, answer: Answer, ask: Callable[[], Any], status: int, body: bytes, verdict: str
) -> None:
    answer()
    first = ask()
    answer(status, body)
    assert ask().verdict == verdict
    assert facts(based, ink) == TOLD
    assert [one.verdict for one in lookups_of(based, ink)] == ["found", verdict]
    assert lookups_of(based, ink)[0] == first


def test_a_service_that_is_down_is_a_failed_answer(based: Registry, ink: str) -> None:
    assert look_up(based, ink, endpoint="http://127.0.0.1:9").verdict == "failed"
    assert facts(based, ink) == UNTOLD


@pytest.mark.parametrize("target", ["http://[bad/x", "ftp://host/x", "//["])
def test_a_service_that_redirects_to_no_address_is_a_failed_answer(
    based: Registry, ink: str, web: Any, sha256: str, target: str
) -> None:
    page = type(web.answer("/nowhere"))
    web.pages[f"/model-versions/by-hash/{sha256.upper()}"] = page(b"", 302, {"Location": target})
    for _ in range(3):
        assert look_up(based, ink, endpoint=web.url).verdict == "failed"
    assert [one.verdict for one in lookups_of(based, ink)] == ["failed"]


def test_the_same_answer_again_is_one_answer(based: Registry, ink: str, answer: Answer, ask: Callable[[], Any]) -> None:
    answer()
    assert ask().id == ask().id
    assert len(lookups_of(based, ink)) == 1


def test_an_answer_about_other_bytes_is_kept_and_fills_in_nothing(
    based: Registry, ink: str, answer: Answer, ask: Callable[[], Any]
) -> None:
    answer(files=[{"hashes": {"SHA256": "0" * 64}}])
    assert ask().verdict == "unlinked"
    assert facts(based, ink) == UNTOLD


def test_a_wrong_match_can_be_unlinked_and_takes_its_facts_with_it(
    based: Registry, ink: str, answer: Answer, ask: Callable[[], Any]
) -> None:
    answer()
    ask()
    (gone,) = unlink(based, ink, "civitai")
    assert gone.verdict == "unlinked"
    assert facts(based, ink) == UNTOLD
    with pytest.raises(NotFound, match="no answer of civitai is linked"):
        unlink(based, ink, "civitai")


def test_unlinking_leaves_what_somebody_changed_since(
    based: Registry, ink: str, answer: Answer, ask: Callable[[], Any], vector_file: Path
) -> None:
    answer()
    ask()
    import_file(based, vector_file, name="ink", title="Better ink")
    based.tag(ink, "style", "yes")
    unlink(based, ink)
    assert facts(based, ink) == ("Better ink", "", (), {"style": "yes"})


def test_a_match_that_was_unlinked_is_not_linked_by_the_next_look_up(
    based: Registry, ink: str, answer: Answer, ask: Callable[[], Any]
) -> None:
    answer()
    ask()
    unlink(based, ink)
    assert ask().verdict == "unlinked"
    answer(description="edited meanwhile")
    assert ask().verdict == "unlinked"
    assert facts(based, ink) == UNTOLD
    answer(id=6, name="v2")
    assert ask().verdict == "found"


def test_every_step_is_in_the_history(based: Registry, ink: str, answer: Answer, ask: Callable[[], Any]) -> None:
    answer()
    ask()
    unlink(based, ink)
    events = [event for event in based.history("ink") if event.action in ("filled in", "unlinked")]
    assert [event.action for event in events] == ["filled in", "filled in", "unlinked"]
    assert events[-1].before["filled"]["trigger_words"] == ["inky"]


def test_a_version_of_many_files_has_no_hash_that_a_service_knows(registry: Registry, base_folder: Path) -> None:
    (base_folder / "vae").mkdir()
    weights = base_folder / "unet" / "diffusion_pytorch_model.safetensors"
    (base_folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(weights.read_bytes())
    ref = import_file(registry, base_folder, name="tiny").ref
    with pytest.raises(NotImportable, match="has 2 weight files"):
        look_up(registry, ref, endpoint="https://service.example")


def test_a_service_cannot_send_us_into_the_private_network(
    based: Registry, ink: str, web: Any, sha256: str, ask: Callable[[], Any]
) -> None:
    page = type(web.answer("/nowhere"))
    headers = {"Location": "http://169.254.169.254/latest/meta-data"}
    web.pages[f"/api/v1/model-versions/by-hash/{sha256.upper()}"] = page(b"", 302, headers)
    assert ask().verdict == "failed"
