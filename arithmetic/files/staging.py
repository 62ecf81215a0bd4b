"""Results are made beside their place and renamed into it; what goes wrong, an interruption too, leaves nothing."""

import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from arithmetic.files.stream import sync_folder


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """An empty folder on the file system of `path`, gone on leaving with whatever is still in it.

    An interruption may come at any instruction: right after the folder was made, and while it is being taken away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        folder.mkdir()
        yield folder
    finally:
        try:
            _remove(folder)
        except BaseException:
            _remove(folder)
            raise


def _remove(folder: Path) -> None:
    """Take a folder away; rmtree cannot stand an interruption in its midst, so one that comes is passed on after it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        shutil.rmtree(folder, ignore_errors=True)
        return
    heard: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    signal.signal(signal.SIGINT, remember)
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        before(heard[0], None)


def publish(moves: Mapping[Path, Path]) -> None:
    """Rename each staged file or folder to its place, in the order given; proofs come first, what they prove last.

    When one rename fails, or an interruption comes, those before it are taken back; an earlier file that was replaced
    by one of them is not.
    """
    try:
        for staged, place in moves.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, place)
        for folder in {place.parent for place in moves.values()}:
            sync_folder(folder)
    except BaseException:
        for staged, place in reversed([*moves.items()]):
            if not staged.exists() and place.exists():
                os.replace(place, staged)
        raise
