"""Walks a folder for what can be imported, by names and stat alone: nothing is opened, no link to a folder is followed.

Everything that is passed over although it looks like weights is named with the reason.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import NotImportable

WEIGHTS = ".safetensors"
PICKLES = frozenset({".bin", ".ckpt", ".msgpack", ".pickle", ".pkl", ".pt", ".pth"})
ARCHIVES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tbz2", ".tgz", ".txz", ".xz", ".zip", ".zst"})
UNFINISHED = frozenset(
    {".aria2", ".crdownload", ".download", ".incomplete", ".opdownload", ".part", ".partial", ".tmp"}
)
REASONS = {
    **dict.fromkeys(PICKLES, "a pickle, which can run code when it is opened: convert it to safetensors"),
    **dict.fromkeys(ARCHIVES, "an archive: unpack it, then import the folder"),
    **dict.fromkeys(UNFINISHED, "an unfinished download: import it when it is complete"),
}
"""Why a file is passed over whatever is in it, by its suffix."""

NEVER_ENTERED = frozenset({".cache", ".git", ".venv", "__MACOSX", "node_modules"})

BASE_MARK = ("unet", "config.json")
"""A folder with this file is one base, whatever else lies in it."""

PEFT_MARKS = frozenset({"adapter_config.json", "adapter_model.safetensors"})
"""A folder with these files is one vector."""

SIDECARS = (".json", ".metadata.json", ".civitai.info")
"""Documents that lie beside NAME.safetensors as NAME and one of these, the most trusted first."""

PICTURES = (".preview.png", ".preview.jpg", ".preview.jpeg", ".preview.webp", ".png", ".jpg", ".jpeg", ".webp")
"""Pictures that lie beside NAME.safetensors, the first one there counts."""

BESIDE = (*SIDECARS, *PICTURES)

MAX_DEPTH = 32
MAX_ENTRIES = 2_000_000


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file, and the stat by which a later walk knows that it is the same."""

    path: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to import: a weight file or the folder of a model, and every file that its content depends on.

    `beside_ns` is when something beside a weight file was last written or put there, 0 where nothing lies beside it.
    """

    path: Path
    files: tuple[SeenFile, ...]
    beside_ns: int = 0

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that was passed over, and why."""

    path: Path
    reason: str


def scan(folder: Path) -> Iterator[Candidate | LeftOut]:
    """What lies below `folder`, in the order of the names. Raises NotImportable where it is no folder.

    A folder of more than MAX_ENTRIES entries is walked no further; the last thing handed out then says so.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise NotImportable(f"{folder}: no folder; give the folder of a model library")
    entries, pending = 0, [(root, 0)]
    while pending:
        place, depth = pending.pop()
        try:
            listed = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            yield LeftOut(place, f"cannot be listed: {error.strerror}")
            continue
        entries += len(listed)
        if entries > MAX_ENTRIES:
            yield LeftOut(place, f"more than {MAX_ENTRIES:,} entries: import its folders one by one")
            return
        names = {entry.name for entry in listed}
        if _is_one_model(place, names):
            yield from _whole_folder(place)
            continue
        inner: list[Path] = []
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in NEVER_ENTERED:
                    inner.append(Path(entry.path))
            else:
                yield from _one_file(root, entry, names)
        if inner and depth == MAX_DEPTH:
            yield LeftOut(place, f"more than {MAX_DEPTH} folders deep")
        else:
            pending.extend((path, depth + 1) for path in reversed(inner))


def is_one_model(folder: Path) -> bool:
    """Whether a folder is one base or one PEFT vector, and not a collection of files."""
    return folder.is_dir() and _is_one_model(folder, {entry.name for entry in os.scandir(folder)})


def candidate_of(path: Path) -> Candidate | LeftOut:
    """The file or the folder of a model at `path`, as a walk would have found it."""
    if path.is_dir():
        return list(_whole_folder(path))[-1]
    try:
        names = {entry.name for entry in os.scandir(path.parent)}
        return Candidate(path, (_seen(str(path), path.stat()),), _beside_ns(str(path), names))
    except OSError as error:
        return LeftOut(path, f"cannot be read: {error.strerror}")


def is_archive(path: Path) -> bool:
    """Whether the name is an archive's."""
    return path.suffix.lower() in ARCHIVES


def _is_one_model(place: Path, names: set[str]) -> bool:
    return names >= PEFT_MARKS or (BASE_MARK[0] in names and place.joinpath(*BASE_MARK).is_file())


def _whole_folder(place: Path) -> Iterator[Candidate | LeftOut]:
    """The folder of a model as one candidate, unless something in it is still arriving or cannot be read.

    Pickles beside safetensors, which nobody imports, come before it.
    """
    files: list[SeenFile] = []
    pickles: list[str] = []
    try:
        for where, folders, names in os.walk(place, onerror=_raise):
            folders[:] = sorted(name for name in folders if name not in NEVER_ENTERED and not name.startswith("."))
            for name in sorted(names):
                suffix = os.path.splitext(name)[1].lower()
                if suffix in UNFINISHED:
                    yield LeftOut(place, f"still arriving: {name} is an unfinished download")
                    return
                path = os.path.join(where, name)
                if suffix in PICKLES:
                    pickles.append(path)
                elif not name.startswith("."):
                    files.append(_seen(path, os.stat(path)))
    except OSError as error:
        yield LeftOut(place, f"cannot be read: {error.filename}: {error.strerror}")
        return
    if any(file.path.endswith(WEIGHTS) for file in files):
        yield from _passed_over(place, pickles)
    yield Candidate(place, tuple(files))


def _passed_over(place: Path, pickles: list[str]) -> Iterator[LeftOut]:
    from registry.sources import why_left_out

    for path in pickles:
        yield LeftOut(Path(path), why_left_out(Path(path).relative_to(place).as_posix()))


def _raise(error: OSError) -> None:
    raise error


def _one_file(root: Path, entry: os.DirEntry[str], names: set[str]) -> Iterator[Candidate | LeftOut]:
    suffix = os.path.splitext(entry.name)[1].lower()
    if entry.is_symlink() and os.path.isdir(entry.path):
        yield LeftOut(Path(entry.path), "a link to a folder: import the folder that it points at")
    elif suffix in REASONS:
        yield LeftOut(Path(entry.path), REASONS[suffix])
    elif suffix == WEIGHTS and not entry.name.startswith("."):
        yield _weights(root, entry, names)


def _weights(root: Path, entry: os.DirEntry[str], names: set[str]) -> Candidate | LeftOut:
    path = Path(entry.path)
    if not _is_text(entry.path):
        return LeftOut(path, "its name is no UTF-8 text: rename it")
    if partners := sorted(f"{entry.name}{suffix}" for suffix in UNFINISHED if f"{entry.name}{suffix}" in names):
        return LeftOut(path, f"still arriving: {partners[0]} lies beside it")
    try:
        if entry.is_symlink() and (reason := _why_not_followed(root, path)):
            return LeftOut(path, reason)
        if not entry.is_file():
            return LeftOut(path, "no regular file")
        return Candidate(path, (_seen(entry.path, entry.stat()),), _beside_ns(entry.path, names))
    except OSError as error:
        return LeftOut(path, f"cannot be read: {error.strerror}")


def _why_not_followed(root: Path, path: Path) -> str | None:
    """Why a link to a file is passed over; None for one that leads to bytes inside that have no name of their own."""
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(root):
        return f"a link out of the folder, to {target}: import that file itself"
    if target.suffix.lower() == WEIGHTS:
        return f"a link to {target}, which is imported under its own name"
    return None


def _beside_ns(path: str, names: set[str]) -> int:
    """When something beside a weight file was last written or put there; `names` are those in its folder."""
    stem = path.removesuffix(WEIGHTS)
    name = os.path.basename(stem)
    there = [os.stat(f"{stem}{suffix}") for suffix in BESIDE if f"{name}{suffix}" in names]
    return max((max(status.st_mtime_ns, status.st_ctime_ns) for status in there), default=0)


def _seen(path: str, status: os.stat_result) -> SeenFile:
    return SeenFile(path, status.st_size, status.st_mtime_ns, status.st_ino)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
