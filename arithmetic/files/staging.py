"""Results are made beside their place and renamed into it; what goes wrong, an interruption too, leaves nothing."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from arithmetic.files.stream import sync_folder


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """An empty folder on the file system of `path`, gone on leaving with whatever is still in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(moves: Mapping[Path, Path]) -> None:
    """Rename each staged file or folder to its place, in the order given; proofs come first, what they prove last.

    When one rename fails, those before it are taken back, unless an earlier file was replaced by them.
    """
    done: list[Path] = []
    try:
        for staged, place in moves.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, place)
            done.append(place)
    except BaseException:
        for place in reversed(done):
            place.unlink()
        raise
    for folder in {place.parent for place in moves.values()}:
        sync_folder(folder)
