"""Vectors whose tensors are changed before they are opened, and the codes of a verdict."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from arithmetic import Combination, Vector, check, open_vector
from formats import Architecture, Layout


@pytest.fixture
def opened(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Callable[..., Vector]:
    """opened(seed, change, name, layout): a random vector; `change` gets the tensors of a kohya file."""

    def make(
        seed: int,
        change: Callable[[dict], object] | None = None,
        name: str = "",
        layout: Layout = Layout.KOHYA,
        **settings: object,
    ) -> Vector:
        path = save(draft(seed, **settings), tmp_path / (name or f"v{seed}"), layout)
        if change is not None:
            tensors = load_file(path)
            change(tensors)
            save_file(tensors, path)
        return open_vector(path, table)

    return make


@pytest.fixture
def codes() -> Callable[..., list[tuple[str, str]]]:
    """codes(combination, **options) -> (severity, code) of every finding."""

    def read(combination: Combination, **options: object) -> list[tuple[str, str]]:
        return [(finding.severity, finding.code) for finding in check(combination, **options).findings]

    return read
