"""A staging folder is gone at the end, wherever in its life an interruption comes."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import pytest

from arithmetic.files.staging import publish, staging_folder


class InterruptionAt:
    """Inside, SIGINT's handler is called at the `nth` place where a signal could be heard: around every call."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __enter__(self) -> "InterruptionAt":
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        self.left -= event != "return"  # signals are looked for where functions begin and where C code has ended
        if self.left < 0:
            sys.setprofile(None)
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, frame)


def stage_and_publish(path: Path) -> None:
    """Make two folders in a staging folder and put them in their places."""
    with staging_folder(path) as stage:
        (stage / "proof").mkdir()
        (stage / "output").mkdir()
        publish({stage / "proof": path.with_suffix(".proof"), stage / "output": path})


def interrupted_at(nth: int, path: Path) -> bool:
    """Whether an interruption at the `nth` place came before the end."""
    try:
        with InterruptionAt(nth):
            stage_and_publish(path)
    except KeyboardInterrupt:
        return True
    return False


def test_an_interruption_at_any_place_leaves_all_or_nothing(tmp_path: Path) -> None:
    path, places, whole = tmp_path / "out", 0, {"out", "out.proof"}
    while interrupted_at(places, path):
        left = set(os.listdir(tmp_path))
        assert left in (set(), whole), places
        for name in left:
            (tmp_path / name).rmdir()
        places += 1
    assert places > 50
    assert set(os.listdir(tmp_path)) == whole


def test_an_error_inside_takes_the_folder_and_what_is_in_it_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), staging_folder(tmp_path / "out") as stage:
        (stage / "deep").mkdir()
        (stage / "deep" / "file").touch()
        raise ValueError("broken")
    assert list(tmp_path.iterdir()) == []
