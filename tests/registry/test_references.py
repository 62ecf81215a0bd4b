from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AmbiguousReference, InvalidReference, NotFound, Registry
from registry.references import parse_reference

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]


@pytest.fixture
def papercut(registry: Registry, base: str, write_vector: Write) -> list[str]:
    """Three versions of papercut: published, published, draft."""
    drafts = (False, False, True)
    return [
        registry.add(write_vector(seed=seed), kind="style", base=base, draft=draft).ref
        for seed, draft in enumerate(drafts)
    ]


@pytest.mark.usefixtures("papercut")
def test_a_bare_name_means_the_newest_published_version(registry: Registry) -> None:
    assert registry.get("papercut").number == 2
    registry.publish("papercut:3")
    assert registry.get("papercut").number == 3
    registry.deprecate("papercut:3")
    assert registry.get("papercut").number == 2


@pytest.mark.usefixtures("base")
def test_a_bare_name_means_the_newest_draft_while_nothing_is_published(registry: Registry, write_vector: Write) -> None:
    for seed in range(2):
        registry.add(write_vector(seed=seed), kind="style", draft=True)
    found = registry.get("papercut")
    assert (found.number, found.state) == (2, "draft")


@pytest.mark.usefixtures("papercut")
def test_an_archived_version_is_found_by_number_alone(registry: Registry) -> None:
    for number in (1, 2, 3):
        registry.archive(f"papercut:{number}")
    assert registry.get("papercut:2").state == "archived"
    with pytest.raises(NotFound, match="every version of 'papercut' is archived"):
        registry.get("papercut")


@pytest.mark.usefixtures("papercut")
def test_an_alias_names_the_version_that_it_was_given(registry: Registry) -> None:
    registry.alias("papercut:1", "production")
    assert registry.get("papercut@production").number == 1


def test_a_digest_prefix_names_a_version_by_its_own_digest_or_that_of_its_file(
    registry: Registry, papercut: list[str]
) -> None:
    version = registry.get(papercut[0])
    for digest in (version.digest, version.digest[:8], version.artifacts[0].sha256, version.artifacts[0].sha256[:12]):
        assert registry.get(f"sha256:{digest}").ref == version.ref


def test_the_same_content_in_two_models_is_no_ambiguity_and_the_published_one_wins(
    registry: Registry, papercut: list[str], write_vector: Write
) -> None:
    draft = registry.get(papercut[2])
    copied = registry.add(write_vector(seed=2), kind="style", name="twin")
    assert copied.digest == draft.digest
    assert registry.get(f"sha256:{draft.digest}").ref == "twin:1"


def test_a_file_that_different_versions_share_is_ambiguous(registry: Registry, write_base: Write) -> None:
    first = registry.add(write_base("one"), kind="base")
    registry.add(write_base("two", width=16), kind="base")
    shared = next(artifact.sha256 for artifact in first.artifacts if artifact.path == "model_index.json")
    with pytest.raises(AmbiguousReference, match="one:1, two:1"):
        registry.get(f"sha256:{shared}")


@pytest.mark.usefixtures("papercut")
@pytest.mark.parametrize(
    ("text", "nearest"),
    [("papercutt", ("papercut",)), ("appercut", ("papercut",)), ("papercut:9", ("papercut:3",)), ("zzz", ())],
)
def test_what_is_not_there_is_not_found_and_the_nearest_names_are_given(
    registry: Registry, text: str, nearest: tuple[str, ...]
) -> None:
    with pytest.raises(NotFound) as caught:
        registry.get(text)
    assert caught.value.nearest == nearest
    assert all(name in str(caught.value) for name in nearest)


@pytest.mark.usefixtures("papercut")
def test_an_unknown_alias_names_the_aliases_that_there_are(registry: Registry) -> None:
    registry.alias("papercut:1", "production")
    with pytest.raises(NotFound, match="papercut@production"):
        registry.get("papercut@prod")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Papercut",
        "a b",
        "a:0",
        "a:-1",
        "a:1.5",
        "a@",
        "a@B",
        ":1",
        "sha256:abc",
        "sha256:ABCDEF12",
        "a:1@b",
        "../a",
        "a%2e",
    ],
)
def test_a_text_that_is_no_reference_is_invalid(registry: Registry, text: str) -> None:
    with pytest.raises(InvalidReference, match="expected NAME"):
        registry.get(text)


def test_a_reference_is_taken_apart() -> None:
    assert parse_reference("a.b-c:12").number == 12
    assert parse_reference("a@b").alias == "b"
    assert parse_reference(f"sha256:{'0' * 64}").digest == "0" * 64
