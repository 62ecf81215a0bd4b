"""Two vectors of the registry, or two files, compared."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from workbench.errors import UnknownPath
from workbench.sums.interfering import Recommended, interfere


@pytest.fixture
def pair(based: Registry, lora: Callable[..., bytes], tmp_path: Path) -> Registry:
    """The style `soft` and the acceleration `fast`, two different vectors."""
    for seed, name, kind in ((1, "soft", "style"), (2, "fast", "acceleration")):
        (tmp_path / f"{name}.safetensors").write_bytes(lora(seed))
        based.add(tmp_path / f"{name}.safetensors", kind=kind, name=name, recommended_strength=0.5 * seed)
    return based


def test_strengths_are_suggested_for_the_vector_that_is_no_acceleration(pair: Registry) -> None:
    report, turned = interfere(pair, "soft", "fast"), interfere(pair, "fast", "soft")
    assert (report.style, turned.style) == ("a", "b")
    assert report.suggested is not None
    assert turned.suggested == report.suggested
    assert report.suggested.vector == "soft:1"
    assert report.inside is not None
    assert report.inside.share == pytest.approx(turned.inside.share)
    assert report.interference.overlap.cosine == pytest.approx(turned.interference.overlap.cosine)


def test_what_the_versions_recommend_stands_beside_it(pair: Registry) -> None:
    assert interfere(pair, "soft", "fast").recommended == (
        Recommended("soft:1", 0.5, None, None),
        Recommended("fast:1", 1.0, None, None),
    )


def test_files_that_no_registry_knows_are_compared_too(
    pair: Registry, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "other.safetensors").write_bytes(lora(1))
    report = interfere(pair, str(tmp_path / "other.safetensors"), "soft", weights=(0.5, 2.0))
    assert report.interference.overlap.cosine == pytest.approx(1)
    assert report.interference.weights == (0.5, 2.0)
    assert [one.vector for one in report.recommended] == ["soft:1"]


def test_a_path_that_is_not_there_is_refused(pair: Registry) -> None:
    with pytest.raises(UnknownPath):
        interfere(pair, "./nowhere.safetensors", "soft")
