"""Which kind of source a text names: a folder, a parquet file, a tar, or a pattern of parquet files or tars."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from distill_jobs.data.folder import METADATA, Folder
from distill_jobs.data.pictures import SUFFIXES
from distill_jobs.data.reading import Reading, Source
from distill_jobs.data.shards import Shards
from distill_jobs.errors import DatasetError, EmptyDataset

PARQUET, TAR = ".parquet", ".tar"
PATTERN = re.compile(r"[*?\[{]")
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
SPLIT = re.compile(r"(train|test|validation|valid|val|dev|eval)(ing)?(?![A-Za-z])", re.IGNORECASE)
MOST_FILES = 100_000


def source_of(text: str, reading: Reading) -> Source:
    """The source at a path or pattern. Raises DatasetError and its kinds."""
    path = Path(text)
    if path.is_dir():
        return _of_folder(path, reading)
    if path.exists():
        return _of_files([path], reading, path.stem, path.absolute().as_uri())
    if PATTERN.search(text):
        return _of_files(_matching(text), reading, _title(text), f"file://{Path(text).absolute()}")
    raise DatasetError(f"{text}: not a folder, a {PARQUET} or a {TAR} file: nothing is there")


def kinds_in(names: Sequence[str]) -> Mapping[str, list[str]]:
    """The kinds of source that files of these names could be, each with its files."""
    kinds = {
        "folder": [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES],
        "parquet": [name for name in names if name.endswith(PARQUET)],
        "webdataset": [name for name in names if name.endswith(TAR)],
    }
    if any(PurePosixPath(name).name == METADATA for name in names) and not kinds["folder"]:
        kinds["folder"] = [name for name in names if PurePosixPath(name).name == METADATA]
    return {kind: files for kind, files in kinds.items() if files}


def require_one_kind(where: str, names: Sequence[str]) -> str:
    """The only kind of source among files of these names, of one split. Raises EmptyDataset, DatasetError."""
    kinds = kinds_in(names)
    if not kinds:
        raise EmptyDataset(where)
    if len(kinds) > 1:
        counted = ", ".join(f"{len(files)} files of the kind {kind}" for kind, files in kinds.items())
        raise DatasetError(f"{where}: holds {counted}; name the folder or the files of one kind")
    kind, files = next(iter(kinds.items()))
    if kind != "folder" and len(splits := _splits(files)) > 1:
        example = next(name for name in files if _split(name) == splits[0])
        raise DatasetError(
            f"{where}: holds the splits {', '.join(splits)}; name the files of one, by a pattern such as "
            f"{where}/{_pattern_of(example)}"
        )
    return kind


def expanded(text: str) -> list[str]:
    """The texts that {000..003} and {a,b} stand for, as a shell would write them out; the text itself without any."""
    match = BRACES.search(text)
    if match is None:
        return [text]
    choices = list(_choices(match[1], text))
    tails = expanded(text[match.end() :])
    if len(choices) * len(tails) > MOST_FILES:
        raise DatasetError(f"{text}: stands for more than {MOST_FILES:,} files; name fewer")
    return [text[: match.start()] + choice + tail for choice in choices for tail in tails]


def _choices(inside: str, text: str) -> Iterator[str]:
    if numbers := RANGE.fullmatch(inside):
        first, last = int(numbers[1]), int(numbers[2])
        if not 0 <= last - first < MOST_FILES:
            raise DatasetError(f"{text}: the range {{{inside}}} is empty or has more than {MOST_FILES:,} numbers")
        width = len(numbers[1])
        yield from (f"{number:0{width}d}" for number in range(first, last + 1))
    else:
        yield from inside.split(",")


def _of_folder(folder: Path, reading: Reading) -> Source:
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    kind = require_one_kind(str(folder), names)
    if kind == "folder":
        return Folder(folder, reading)
    files = [folder / name for name in kinds_in(names)[kind]]
    return _of_files(files, reading, folder.name, folder.absolute().as_uri())


def _of_files(files: Sequence[Path], reading: Reading, title: str, uri: str) -> Source:
    suffixes = {path.suffix.lower() for path in files}
    if suffixes == {PARQUET}:
        from distill_jobs.data.tables import Tables

        return Tables(files, reading, title, uri)
    if suffixes == {TAR}:
        return Shards(files, reading, title, uri)
    raise DatasetError(
        f"{', '.join(map(str, files[:3]))}: {', '.join(sorted(suffixes)) or 'no suffix'}; expected {PARQUET} files or "
        f"uncompressed {TAR} files, all of one kind, or a folder of pictures"
    )


def _matching(text: str) -> list[Path]:
    """The files that a pattern matches, in order. Raises DatasetError where a part of it matches none."""
    found = {part: sorted(glob.glob(part, recursive=True)) for part in expanded(text)}
    if missing := [part for part, files in found.items() if not files]:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DatasetError(f"{text}: {len(missing)} of {len(found)} match no file: {shown}; name files that are there")
    return [Path(name) for name in dict.fromkeys(chain.from_iterable(found.values()))]


def _title(text: str) -> str:
    """The first part of the last name that is no pattern, or the folder's name."""
    plain = re.split(PATTERN, Path(text).name)[0].strip("-_. ")
    return plain or Path(text).absolute().parent.name


def _splits(names: Sequence[str]) -> list[str]:
    return sorted({split for name in names if (split := _split(name))})


def _split(name: str) -> str | None:
    found = [match[1].lower() for part in reversed(PurePosixPath(name).parts) if (match := SPLIT.match(part))]
    return found[0] if found else None


def _pattern_of(name: str) -> str:
    path = PurePosixPath(name)
    match = SPLIT.match(path.name)
    return str(path.with_name(f"{match[0]}*{path.suffix}") if match else path.with_name(f"*{path.suffix}"))
