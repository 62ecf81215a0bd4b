"""What goes where in the files of a baked base: known from the headers, before a tensor is read."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from arithmetic.files.stream import Slot, header_bytes
from arithmetic.weights import Part, WeightFile, Weights
from formats import TensorSpec
from formats.folders import WEIGHT_STEMS

STALE_HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
"""Digests of the base's own tensors, which a baked file must not claim."""

SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Entry:
    """One tensor of the output: whose it was in the base, the dtype that it gets, and whether its bytes change."""

    file: WeightFile
    key: str
    spec: TensorSpec
    tag: str
    parts: tuple[Part, ...]
    is_changed: bool

    @property
    def slot(self) -> Slot:
        """Its place in a header."""
        return Slot(self.key, self.tag, self.spec.shape)

    @property
    def name(self) -> str:
        """The tensor within the base: its folder and its key."""
        return f"{self.file.group}/{self.key}"


@dataclass(frozen=True)
class Sheet:
    """One weight file of the output: its path within it, its tensors in order, its metadata."""

    name: str
    group: str
    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]

    @cached_property
    def header(self) -> bytes:
        """The length and the JSON header."""
        return header_bytes([entry.slot for entry in self.entries], self.metadata)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each tensor begins in the file, and the file's size."""
        positions = [len(self.header)]
        for entry in self.entries:
            positions.append(positions[-1] + entry.slot.size)
        return tuple(positions)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.starts[-1]

    @property
    def is_copy(self) -> bool:
        """Whether it is a file of the base, byte for byte."""
        files = {entry.file.path: entry.file for entry in self.entries}
        if len(files) != 1 or any(entry.is_changed for entry in self.entries):
            return False
        (file,) = files.values()
        return file.name == self.name and len(self.entries) == len(file.header.tensors)


def draw_sheets(
    base: Weights,
    touched: Collection[str],
    *,
    tag: str | None,
    shard_bytes: int | None,
    metadata: Mapping[str, str],
    file_name: str | None = None,
) -> list[Sheet]:
    """The weight files to write.

    Args:
        base: whose layout they keep.
        touched: the modules that change.
        tag: the dtype that all modules get; None keeps each as it is stored. What is carried keeps its own.
        shard_bytes: cut the tensors of a folder, or of the single file, into files of at most so many bytes; None
            keeps the base's own files.
        metadata: for the headers, beside the base's own.
        file_name: of a single file's output.
    """
    sheets: list[Sheet] = []
    for group, grouped in groupby(base.files, key=lambda file: file.group):
        files = list(grouped)
        own = [(file, _entries(base, file, frozenset(touched), tag)) for file in files]
        if shard_bytes is None:
            names = _shard_names(file_name, len(files)) if file_name else [file.path.name for file in files]
            cut = [(_placed(group, name), entries) for name, (_, entries) in zip(names, own, strict=True)]
        else:
            plain = file_name or SHARD.sub("", files[0].path.name)
            shards = _shards([entry for _, entries in own for entry in entries], shard_bytes)
            names = _shard_names(plain, len(shards))
            cut = [(_placed(group, name), shard) for name, shard in zip(names, shards, strict=True)]
        said = {key: value for key, value in files[0].header.metadata.items() if key not in STALE_HASHES}
        sheets += [Sheet(name, group, tuple(entries), {**said, **metadata}) for name, entries in cut]
    return sheets


def indexes(sheets: Sequence[Sheet]) -> Iterator[tuple[str, str]]:
    """(path within the output, text) of the index that diffusers and transformers read where a folder has shards."""
    for group, grouped in groupby(sheets, key=lambda sheet: sheet.group):
        own = list(grouped)
        if len(own) == 1:
            continue
        names = {sheet.name: sheet.name.rpartition("/")[2] for sheet in own}
        weight_map = {entry.key: names[sheet.name] for sheet in own for entry in sheet.entries}
        total = sum(entry.slot.size for sheet in own for entry in sheet.entries)
        document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        yield _placed(group, index_name(names[own[0].name])), json.dumps(document, indent=2) + "\n"


def index_name(shard: str) -> str:
    """`model.fp16-00001-of-00002.safetensors` -> `model.safetensors.index.fp16.json`."""
    stem, *variant = SHARD.sub("", shard).removesuffix(".safetensors").rsplit(".", 1)
    if variant and stem in WEIGHT_STEMS:
        return f"{stem}.safetensors.index.{variant[0]}.json"
    return f"{SHARD.sub('', shard)}.index.json"


def _entries(base: Weights, file: WeightFile, touched: frozenset[str], tag: str | None) -> list[Entry]:
    """The tensors of one file in the order in which they lie in it."""
    entries = []
    for key, spec in sorted(file.header.tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        parts = base.parts.get((file.path, key), ())
        converted = tag if tag is not None and parts and spec.dtype in FLOATS else spec.dtype
        is_changed = converted != spec.dtype or any(part.module in touched for part in parts)
        entries.append(Entry(file, key, spec, converted, parts, is_changed))
    return entries


def _shards(entries: Sequence[Entry], limit: int) -> list[list[Entry]]:
    """`entries` in order, cut before the one that would be too much."""
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if shards[-1] and size + entry.slot.size > limit:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry.slot.size
    return shards


def _shard_names(plain: str, count: int) -> list[str]:
    if count == 1:
        return [plain]
    stem = plain.removesuffix(".safetensors")
    return [f"{stem}-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]


def _placed(group: str, name: str) -> str:
    return name if group == "." else f"{group}/{name}"
