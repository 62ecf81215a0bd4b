"""What the registry needs of a file system: durable renames, safe relative paths, locks that work."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

from registry.errors import InvalidName, Unsupported

T = TypeVar("T")

AT_ONCE = 8
"""Requests to a disk or a store that are under way together."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
MOUNTS = Path("/proc/self/mounts")


def refuse_network_file_system(folder: Path, mounts: Path = MOUNTS) -> None:
    """Raise Unsupported where `folder` lies on a network mount: SQLite's locks do not hold there."""
    if not mounts.is_file():
        return
    target = folder.resolve()
    points = [line.split(" ")[1:3] for line in mounts.read_text("utf-8", "surrogateescape").splitlines()]
    around = [(Path(point.replace("\\040", " ")), kind) for point, kind in points]
    inside = [(point, kind) for point, kind in around if target.is_relative_to(point)]
    point, kind = max(inside, key=lambda mount: len(mount[0].parts), default=(Path("/"), ""))
    if kind in NETWORK_FILE_SYSTEMS:
        raise Unsupported(
            f"{folder}: {point} is a {kind} mount, expected a local disk. Set TAU_HOME to a local folder."
        )


def sync_folder(folder: Path) -> None:
    """Make the renames inside `folder` durable (Windows has no such call and needs none)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes of `path` durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def in_parallel(work: Callable[[T], object], items: Sequence[T]) -> None:
    """Do `work` for every item, several at once: what waits for a disk or a network waits together.

    Raises what one of them raises, after those that had begun; no other one begins then.
    """
    if len(items) == 1:
        work(items[0])
    elif items:
        with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
            list(pool.map(work, items))


def safe_relative_path(text: str) -> PurePosixPath:
    """`text` as a path that stays inside whatever folder it is joined to. Raises InvalidName otherwise."""
    path = PurePosixPath(text)
    parts = text.split("/")
    unsafe = any(part in ("", ".", "..") or part.endswith((" ", ".")) for part in parts)
    strange = any(character in '\\:*?"<>|' or ord(character) < 32 for character in text)
    if unsafe or strange or path.is_absolute():
        raise InvalidName(f"path {text!r}: expected a plain relative path such as unet/config.json. Rename the file.")
    return path
