"""Baking: what is registered of a checkpoint, and which sums of bases it takes."""

from pathlib import Path

import pytest

from registry import Registry
from workbench.sums.baking import bake


def edges(registry: Registry, reference: str) -> list[tuple[str, float | None]]:
    return [(edge.relation, edge.weight) for edge in registry.lineage(reference).edges]


def test_a_baked_base_is_registered_with_its_base_and_its_vectors(stocked: Registry, tmp_path: Path) -> None:
    baked = bake(stocked, "tiny + 0.5*soft + 0.25*fast", tmp_path / "baked", name="tiny-soft")
    assert baked.version is not None
    assert (baked.version.ref, baked.version.kind) == ("tiny-soft:1", "base")
    assert edges(stocked, "tiny-soft")[:3] == [("baked_into", 1.0), ("composed_from", 0.5), ("composed_from", 0.25)]


def test_a_base_at_a_path_is_kept_by_its_digest(stocked: Registry, base_folder: Path, tmp_path: Path) -> None:
    baked = bake(stocked, f'"{base_folder}" + soft', tmp_path / "baked", name="outside")
    assert baked.version is not None
    assert any(edge.parent.startswith("external:sha256:") for edge in stocked.lineage("outside").edges)


@pytest.mark.parametrize("text", ["0.5*tiny + 0.5*other + 0.5*soft", "tiny + (other - tiny) + 0.5*soft"])
def test_a_sum_of_bases_takes_vectors(text: str, stocked: Registry, tmp_path: Path) -> None:
    bake(stocked, "tiny + fast", tmp_path / "other", name="other")
    assert bake(stocked, text, tmp_path / "baked").certificate.worst_relative_error < 1e-3
