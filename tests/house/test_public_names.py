"""Every room says what it offers: a sorted __all__ whose names exist."""

import importlib

import pytest

ROOMS = (
    "arithmetic",
    "demo",
    "distill_jobs",
    "formats",
    "registry",
    "registry.jobs",
    "sampling",
    "tauworks",
    "workbench",
)


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_sorted_and_every_name_in_it_exists(room: str) -> None:
    module = importlib.import_module(room)
    assert list(module.__all__) == sorted(module.__all__, key=_order)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name: the order that the linter keeps."""
    rank = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return rank, name
