"""Versions as folders that other libraries can open: links to the stored blobs, under the names that they had."""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from formats.adapter_files import PEFT_CONFIG
from registry.blobs.filesystem import safe_relative_path
from registry.errors import Refused
from registry.sources import QUARANTINED
from registry.values import Version

Locate = Callable[[Sequence[str]], Mapping[str, Path]]
"""Digests -> where the bytes of each can be read, certain to be right."""

WEIGHTS = "weights"


def version_folder(version: Version, locate: Locate, root: Path) -> Path:
    """The folder of a version's files, made when it is not there or no longer whole.

    Raises CorruptBlob, and Refused for a version that must not be opened.
    """
    if any(artifact.role == QUARANTINED for artifact in version.artifacts):
        raise Refused(f"{version.ref}: a pickle, which can run code when it is opened: it stays closed. Convert it.")
    folder = root / version.digest
    places = locate([artifact.sha256 for artifact in version.artifacts])
    files = {safe_relative_path(artifact.path): places[artifact.sha256] for artifact in version.artifacts}
    if all(_shows(folder / path, blob) for path, blob in files.items()):
        return folder
    fresh = root / f".{version.digest[:16]}-{secrets.token_hex(4)}"
    try:
        for path, blob in files.items():
            _show(blob, fresh / path)
        shutil.rmtree(folder, ignore_errors=True)
        return _put(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def version_file(version: Version, locate: Locate, root: Path) -> Path:
    """What a vector is opened from: its one weight file, or the folder where a PEFT config belongs to it."""
    folder = version_folder(version, locate, root)
    paths = [artifact.path for artifact in version.artifacts]
    if PEFT_CONFIG in paths:
        return folder
    weights = [artifact.path for artifact in version.artifacts if artifact.role == WEIGHTS]
    chosen = paths if len(paths) == 1 else weights
    if len(chosen) != 1:
        raise Refused(f"{version.ref}: has {len(paths)} files, expected one of weights. Open its folder instead.")
    return folder / chosen[0]


def _shows(path: Path, blob: Path) -> bool:
    """Whether `path` is a link to the blob, or a copy of its size."""
    if path.is_symlink():
        return path.resolve() == blob.resolve()
    return path.is_file() and path.stat().st_size == blob.stat().st_size


def _show(blob: Path, target: Path) -> None:
    """A relative link to the blob, or a read-only copy where links are not allowed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(os.path.relpath(blob.resolve(), target.parent.resolve()))
    except OSError:
        shutil.copyfile(blob, target)
        target.chmod(0o444)


def _put(fresh: Path, folder: Path) -> Path:
    """Rename into place; somebody who was faster has made the same folder."""
    try:
        fresh.replace(folder)
    except OSError:
        if not folder.is_dir():
            raise
    return folder
