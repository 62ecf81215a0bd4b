"""What a worker is told to do, and what a painter is told of it."""

import pytest

from distill_jobs.execution.painter import Painter
from registry import Registry
from workbench.errors import InvalidSettings
from workbench.jobs.workers import INTERACTIVE, Duties


def test_memory_is_for_painters() -> None:
    assert Duties(lanes=(INTERACTIVE,), memory=1 << 30).memory == 1 << 30
    with pytest.raises(InvalidSettings, match="--memory is for what painters keep; name their lane"):
        Duties(memory=1 << 30)


@pytest.mark.parametrize(("memory", "kept"), [(None, 20), (15, 10)])
def test_a_painter_keeps_as_much_as_it_was_given(registry: Registry, memory: int | None, kept: int) -> None:
    shelf = Painter(registry, {}, name="studio", lease_seconds=1.0, room=memory).shelf
    for key in "ab":
        shelf.get(key, dict, size=10)
    assert shelf.kept_bytes == kept
