import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import InvalidName, InvalidReference, NotFound, Registry, Version

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]
LOCKED = "1.0*sha256:" + "ab" * 32
LOCKED_SHA256 = hashlib.sha256(LOCKED.encode()).hexdigest()


@pytest.fixture
def composed(registry: Registry, base: str, write_vector: Write) -> Version:
    """A version that was composed by a recorded recipe."""
    registry.add_recipe("papercut", LOCKED, LOCKED_SHA256)
    return registry.add(write_vector("sum"), kind="composition", base=base, recipe=LOCKED_SHA256)


def _certificate(version: Version, error: float) -> dict[str, object]:
    return {
        "file_sha256": version.artifacts[0].sha256,
        "method": "freivalds-float64",
        "engine_version": "0.1.0",
        "worst_relative_error": error,
        "modules": {"unet.conv_in": error},
    }


def test_a_version_names_the_recipe_that_it_was_composed_by(registry: Registry, composed: Version, base: str) -> None:
    recipe = registry.recipe(composed)
    assert recipe is not None
    assert (recipe.text, recipe.locked, recipe.sha256) == ("papercut", LOCKED, LOCKED_SHA256)
    assert registry.recipe(base) is None


def test_a_recipe_is_recorded_once_for_each_locked_text(registry: Registry) -> None:
    registry.add_recipe("papercut", LOCKED, LOCKED_SHA256)
    assert registry.add_recipe("papercut:1", LOCKED, LOCKED_SHA256).text == "papercut"


def test_the_newest_certificate_counts_and_the_same_one_is_kept_once(registry: Registry, composed: Version) -> None:
    assert registry.certificate(composed) is None
    for error in (1e-7, 1e-7, 2e-8):
        registry.add_certificate(composed, _certificate(composed, error))
    assert registry.certificate(composed.ref) == _certificate(composed, 2e-8)
    assert [event.action for event in registry.history("sum")].count("certified") == 2


def test_a_version_and_its_certificate_commit_together_or_not_at_all(
    registry: Registry, composed: Version, write_vector: Write
) -> None:
    path = write_vector("proven", seed=1)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    proof = {**_certificate(composed, 1e-7), "file_sha256": sha256}
    with pytest.raises(InvalidReference, match="about a file that it lacks"):
        registry.add(path, kind="composition", certificate={**proof, "file_sha256": "0" * 64})
    with pytest.raises(NotFound):
        registry.get("proven")
    assert registry.certificate(registry.add(path, kind="composition", certificate=proof)) == proof


def test_a_certificate_about_another_file_or_without_its_essentials_is_refused(
    registry: Registry, composed: Version
) -> None:
    with pytest.raises(InvalidReference, match="about a file that it lacks"):
        registry.add_certificate(composed, {**_certificate(composed, 0.0), "file_sha256": "0" * 64})
    with pytest.raises(InvalidReference, match="lacks engine_version, file_sha256, method, worst_relative_error"):
        registry.add_certificate(composed, {})


def test_pictures_of_versions_and_recipes_are_kept_with_how_they_were_painted(
    registry: Registry, composed: Version, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    registry.add_preview(composed, {"steps": 4}, picture, {"joint": 0.5})
    registry.add_preview(composed.ref, {"steps": 8}, b"other png", {})
    registry.add_preview(LOCKED_SHA256, {"steps": 1}, picture, {})
    newest, oldest = registry.previews(composed)
    assert (oldest.subject, oldest.settings, oldest.metrics) == ("sum:1", {"steps": 4}, {"joint": 0.5})
    assert newest.settings == {"steps": 8}
    assert registry.blob_path(oldest.picture).read_bytes() == b"png"
    (of_recipe,) = registry.previews(LOCKED_SHA256)
    assert of_recipe.subject == f"recipe:{LOCKED_SHA256}"
    assert registry.previews(of_recipe.subject) == [of_recipe]
    assert len(registry.previews(composed, limit=1)) == 1


def test_a_picture_of_nothing_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.add_preview("0" * 64, {}, b"png", {})


def test_a_data_set_has_a_legal_name(registry: Registry) -> None:
    with pytest.raises(InvalidName):
        registry.add_dataset("My Set", "ab" * 32, "file:///x")


def test_of_a_data_set_it_is_kept_how_it_lay_where_and_how_many_pictures_were_left_out(registry: Registry) -> None:
    facts = {"kind": "parquet", "revision": "f" * 40, "pictures": 12, "left_out": 3}
    recorded = registry.add_dataset("birds", "ab" * 32, "hf://datasets/a/birds", "cc0-1.0", **facts)
    assert registry.dataset("dataset:birds") == registry.dataset(recorded.ref) == recorded
    assert (recorded.kind, recorded.revision, recorded.pictures, recorded.left_out) == tuple(facts.values())
    other = registry.add_dataset("birds", "ab" * 32, "hf://datasets/a/birds", "cc0-1.0", **facts | {"left_out": 0})
    assert registry.dataset(recorded.ref) == other
    edited = registry.history()[-1]
    assert (edited.before["left_out"], edited.after["left_out"]) == (3, 0)
    with pytest.raises(NotFound, match="birbs"):
        registry.dataset("dataset:birbs")
