"""What a path brings into the registry: its files, under the names and roles that they will have."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from formats.errors import HeaderError
from formats.header import Header, read_header
from registry.blobs.filesystem import safe_relative_path
from registry.errors import NotFound, Refused
from registry.exported import own_names

WEIGHTS = "weights"
QUARANTINED = "quarantined"
"""The role of a file that can run code when it is opened: it is kept, and never handed to anything that would."""

SAFETENSORS = ".safetensors"
MAX_FILES = 2_000
PICKLES = frozenset({".bin", ".ckpt", ".msgpack", ".pickle", ".pkl", ".pt", ".pth"})
UNFINISHED = frozenset(
    {".aria2", ".crdownload", ".download", ".incomplete", ".opdownload", ".part", ".partial", ".tmp"}
)
MEDIA_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    SAFETENSORS: "application/vnd.safetensors",
    ".txt": "text/plain",
}
ROLES = {".json": "config", ".md": "card", SAFETENSORS: WEIGHTS}


@dataclass(frozen=True)
class SourceFile:
    """One file to register: where it is read, and the relative path and role that it gets."""

    source: Path
    path: str
    role: str

    @property
    def media_type(self) -> str:
        """The media type that its suffix stands for; a file that may not be opened is bytes, whatever its name."""
        suffix = "" if self.role == QUARANTINED else PurePosixPath(self.path).suffix
        return MEDIA_TYPES.get(suffix, "application/octet-stream")


@dataclass(frozen=True)
class Source:
    """A file or folder, what of it is registered, and what is left where it is."""

    path: Path
    files: tuple[SourceFile, ...]
    left_out: tuple[str, ...]

    def headers(self) -> dict[str, Header]:
        """The header of every safetensors file, by path. Raises formats' HeaderError for one that is malformed."""
        readable = (file for file in self.files if file.path.endswith(SAFETENSORS) and file.role != QUARANTINED)
        return {file.path: read_header(file.source) for file in readable}


def why_left_out(path: str) -> str:
    """Why `open_source` leaves a file of a folder where it is, by its name."""
    if any(part.startswith(".") for part in path.split("/")):
        return "a hidden file"
    if PurePosixPath(path).suffix.lower() in PICKLES:
        return "a pickle, which can run code when it is opened; the safetensors files beside it are taken"
    return "made by the export that wrote this folder, no file of the version"


def quarantined(source: Source) -> Source:
    """The same files, none of which may be opened."""
    return replace(source, files=tuple(replace(file, role=QUARANTINED) for file in source.files))


def open_source(path: Path) -> Source:
    """List what `path` brings. Raises NotFound and Refused.

    A single file is called weights.safetensors, so that its digest does not depend on what somebody called it; so is
    one that is named like a pickle and is none. Hidden files and pickles beside safetensors are left out, and named in
    `left_out`; pickles without are quarantined.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise NotFound(f"{path}: no such file or folder.")
    _refuse_unfinished(path)
    suffix = path.suffix.lower()
    if suffix in PICKLES and _is_safetensors(path):
        suffix = SAFETENSORS
    role = QUARANTINED if suffix in PICKLES else ROLES.get(suffix, "other")
    return Source(path, (SourceFile(path, f"{WEIGHTS}{suffix}", role),), ())


def _open_folder(folder: Path) -> Source:
    files, pickles, left_out = [], [], []
    own = own_names(folder)
    for file in _walk(folder):
        path = file.relative_to(folder).as_posix()
        is_hidden = any(part.startswith(".") for part in path.split("/"))
        if is_hidden or (own and path not in own):
            left_out.append(path)
            continue
        if file.suffix.lower() in PICKLES:
            pickles.append(file)
            continue
        _refuse_unfinished(file)
        name = str(safe_relative_path(own.get(path, path)))
        files.append(SourceFile(_inside(folder, file), name, _role(name)))
    if any(file.path.endswith(SAFETENSORS) for file in files):
        left_out += [file.relative_to(folder).as_posix() for file in pickles]
    else:
        files += [_closed(folder, file, own) for file in pickles]
    if not files:
        left = f" Left out: {', '.join(left_out[:5])}." if left_out else ""
        raise Refused(f"{folder}: nothing to register, expected safetensors files.{left}")
    return Source(folder, tuple(sorted(files, key=lambda file: file.path)), tuple(sorted(left_out)))


def _closed(folder: Path, file: Path, own: Mapping[str, str]) -> SourceFile:
    """A pickle of a folder without safetensors."""
    _refuse_unfinished(file)
    path = file.relative_to(folder).as_posix()
    return SourceFile(_inside(folder, file), str(safe_relative_path(own.get(path, path))), QUARANTINED)


def _is_safetensors(path: Path) -> bool:
    try:
        read_header(path)
    except HeaderError:
        return False
    return True


def _walk(folder: Path) -> Iterator[Path]:
    count = 0
    for place, folders, names in os.walk(folder):
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        if linked:
            raise Refused(f"{Path(place) / linked[0]}: a link to a folder. Copy what it points at into {folder}.")
        folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
        count += len(names)
        if count > MAX_FILES:
            raise Refused(f"{folder}: more than {MAX_FILES:,} files. Point at the folder of one model.")
        yield from (Path(place) / name for name in sorted(names))


def _inside(folder: Path, file: Path) -> Path:
    """`file` with links followed: inside the folder, or in the `blobs` of the Hub cache that it is part of."""
    target, root = file.resolve(), folder.resolve()
    hub_blobs = root.parent.parent / "blobs"
    allowed = target.is_relative_to(root) or (root.parent.name == "snapshots" and target.is_relative_to(hub_blobs))
    if not allowed or not target.is_file():
        raise Refused(f"{file}: links to {target}, expected a file inside {folder}. Copy the file into the folder.")
    return target


def is_unfinished(path: Path) -> bool:
    """Whether a download still writes `path`: its name says so, or the control file beside it does."""
    return path.suffix.lower() in UNFINISHED or any(
        path.with_name(f"{path.name}{suffix}").exists() for suffix in UNFINISHED
    )


def _refuse_unfinished(path: Path) -> None:
    if is_unfinished(path):
        raise Refused(f"{path}: looks like an unfinished download. Wait until it is complete, or remove it.")


def _role(path: str) -> str:
    """The component that a file belongs to (`unet`, `judge`), or what a file at the top is for."""
    parts = path.split("/")
    return parts[0] if len(parts) > 1 else ROLES.get(PurePosixPath(path).suffix, "other")
