"""Versions as folders that other libraries can open: links to the stored blobs, under the names that they had."""

import os
import secrets
import shutil
from pathlib import Path

from registry.blobs import BlobStore
from registry.errors import Refused
from registry.filesystem import safe_relative_path
from registry.values import Artifact, Version

PEFT_CONFIG = "adapter_config.json"
WEIGHTS = "weights"


def version_folder(version: Version, store: BlobStore, root: Path) -> Path:
    """The folder of a version's files, made when it is not there or no longer whole. Raises CorruptBlob."""
    folder = root / version.digest
    if all(_is_whole(folder / artifact.path, artifact) for artifact in version.artifacts):
        return folder
    fresh = root / f".{version.digest[:16]}-{secrets.token_hex(4)}"
    try:
        for artifact in version.artifacts:
            _show(store.require(artifact.sha256, artifact.size), fresh / safe_relative_path(artifact.path))
        shutil.rmtree(folder, ignore_errors=True)
        return _put(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def version_file(version: Version, store: BlobStore, root: Path) -> Path:
    """What a vector is opened from: its one weight file, or the folder where a PEFT config belongs to it."""
    folder = version_folder(version, store, root)
    paths = [artifact.path for artifact in version.artifacts]
    if PEFT_CONFIG in paths:
        return folder
    weights = [artifact.path for artifact in version.artifacts if artifact.role == WEIGHTS]
    chosen = paths if len(paths) == 1 else weights
    if len(chosen) != 1:
        raise Refused(f"{version.ref}: has {len(paths)} files, expected one of weights. Open its folder instead.")
    return folder / chosen[0]


def _is_whole(path: Path, artifact: Artifact) -> bool:
    return path.is_file() and path.stat().st_size == artifact.size


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
