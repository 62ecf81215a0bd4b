"""The header of a safetensors file, read with every refusal of the reference reader and without touching a tensor.

Layout: 8 bytes little-endian N, N bytes of JSON that begin with `{`, then the data section. The JSON maps a tensor's
name to {dtype, shape, data_offsets} and `__metadata__` to a flat object of strings. The tensors tile the data section:
no hole, no overlap, nothing before or after (safetensors tensor.rs: `read_metadata`, `Metadata::validate`).
"""

import json
import math
import os
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter, sub
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from formats.errors import HeaderError

MAX_HEADER_BYTES = 100_000_000
"""The reference reader's own limit."""

MAX_VALUES = 4_000_000
"""More commas and brackets than any real header has: it bounds the memory that reading one takes."""

MAX_UNSIGNED = 2**64 - 1

MAX_WRITTEN_DIMENSIONS = 16
"""A longer shape is multiplied step by step, so that the product stops before it grows."""

METADATA = "__metadata__"
METADATA_FIRST = f'{{"{METADATA}":{{'

MORE_THAN_A_SCALAR = 9
"""Bytes: no element has so many."""

MAX_NUMBERS_BYTES = 1 << 20
"""The largest tensor that is read here: alphas and biases are."""

DTYPE_BITS: Mapping[str, int] = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits of one element, for every dtype that safetensors names."""

SCALAR_FORMATS: Mapping[str, str] = {
    "F16": "<e",
    "F32": "<f",
    "F64": "<d",
    "I8": "<b",
    "U8": "<B",
    "I16": "<h",
    "U16": "<H",
    "I32": "<i",
    "U32": "<I",
    "I64": "<q",
    "U64": "<Q",
}


_NUMBERS = frozenset({*SCALAR_FORMATS, "BF16"})
_BEGINNING = itemgetter(2, 3)

_NUMBER = "0|[1-9][0-9]{0,18}"
_WRITTEN = re.compile(
    r'"([^"\\\x00-\x1f]*)":\{"dtype":"([A-Z0-9_]+)","shape":\[([0-9,]*)\],'
    rf'"data_offsets":\[({_NUMBER}),({_NUMBER})\]\}}(?:,(?=")|\}}[ \t\r\n]*\Z)'
)
_POSITIVE = re.compile("[1-9][0-9]{0,18}")

Pairs = Sequence[tuple[str, Any]]
"""A JSON object as it is read: arrays are lists, objects are tuples of (name, value)."""


class TensorSpec(NamedTuple):
    """One tensor: `start` and `end` are byte offsets from the beginning of the data section."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself. `data_start` is the offset of the data section in the file."""

    path: Path
    tensors: dict[str, TensorSpec]
    metadata: dict[str, str]
    data_start: int
    file_size: int


def read_header(path: Path | str) -> Header:
    """Read and check the header of `path`. Raises HeaderError for everything that safetensors itself refuses."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(path, file.read(8), size)
            raw = file.read(length)
    except OSError as error:
        raise HeaderError(
            f"{path}: cannot be read: {error.strerror or error}. Check the path and its permissions."
        ) from error
    if len(raw) != length:
        _refuse(path, f"the header ends after {len(raw):,} of {length:,} bytes")
    tensors, metadata = _parse(path, raw)
    _check_tiling(path, tensors, size - 8 - length)
    return Header(path=path, tensors=tensors, metadata=metadata, data_start=8 + length, file_size=size)


def read_scalars(header: Header, names: Iterable[str]) -> dict[str, float]:
    """The values of the one-element tensors `names`. Raises HeaderError for a tensor with more than one element."""
    found: dict[str, float] = {}
    known: dict[tuple[str, bytes], float] = {}
    with header.path.open("rb") as file:
        descriptor = file.fileno()
        for name in names:
            dtype, _, start, end = header.tensors[name]
            raw = os.pread(descriptor, min(end - start, MORE_THAN_A_SCALAR), header.data_start + start)
            value = known.get((dtype, raw))
            if value is None:
                value = known[dtype, raw] = _scalar(header, name, raw)
            found[name] = value
    return found


def _scalar(header: Header, name: str, raw: bytes) -> float:
    spec = header.tensors[name]
    if spec.elements != 1 or spec.dtype not in _NUMBERS:
        _refuse(header.path, f"tensor {name!r} is {spec.dtype} {list(spec.shape)}, expected one number")
    return _decoded(header, name, raw)[0]


def read_numbers(header: Header, name: str) -> tuple[float, ...]:
    """The elements of the small tensor `name`. Raises HeaderError for a large one, and for a dtype of no numbers."""
    dtype, shape, start, end = header.tensors[name]
    if dtype not in _NUMBERS or end - start > MAX_NUMBERS_BYTES:
        _refuse(header.path, f"tensor {name!r} is {dtype} {list(shape)}, expected a few numbers")
    with header.path.open("rb") as file:
        return _decoded(header, name, os.pread(file.fileno(), end - start, header.data_start + start))


def _decoded(header: Header, name: str, raw: bytes) -> tuple[float, ...]:
    dtype, _, start, end = header.tensors[name]
    if len(raw) != end - start:
        _refuse(header.path, f"tensor {name!r} ends after {len(raw)} of {end - start} bytes")
    if dtype == "BF16":
        wide = b"".join(b"\0\0" + raw[place : place + 2] for place in range(0, len(raw), 2))
        return struct.unpack(f"<{len(raw) // 2}f", wide)
    count = len(raw) * 8 // DTYPE_BITS[dtype]
    return tuple(map(float, struct.unpack(f"<{count}{SCALAR_FORMATS[dtype][1]}", raw)))


def _refuse(path: Path, reason: str) -> NoReturn:
    raise HeaderError(f"{path}: not a readable safetensors file: {reason}. Fetch or export the file again.")


def _header_length(path: Path, prefix: bytes, size: int) -> int:
    if len(prefix) < 8:
        _refuse(path, f"{size} bytes long, expected at least 8")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        _refuse(path, f"its header claims {length:,} bytes, the limit is {MAX_HEADER_BYTES:,}")
    if 8 + length > size:
        _refuse(path, f"truncated: its header claims {length:,} bytes, the file has {size:,}")
    return length


def _parse(path: Path, raw: bytes) -> tuple[dict[str, TensorSpec], dict[str, str]]:
    if not raw.startswith(b"{"):
        _refuse(path, f"its header begins with {raw[:1]!r}, expected b'{{'")
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        _refuse(path, f"its header holds more than {MAX_VALUES:,} values")
    try:
        text = raw.decode("utf-8")
        said, tensors = _as_it_is_written(text) or _as_any_json(path, text)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"its header is not valid JSON: {error}")
    return tensors, _metadata(path, said)


def _as_any_json(path: Path, text: str) -> tuple[Any, dict[str, TensorSpec]]:
    """(metadata, tensors) of a header. Raises ValueError for what is no JSON, or says a name twice."""
    document = json.loads(text, object_pairs_hook=tuple, parse_constant=_no_constant, parse_int=_integer)
    _require_characters(document, text)
    entries = _unique(document)
    said = entries.pop(METADATA, None)
    return said, {name: _tensor(path, name, entry) for name, entry in entries.items()}


def _as_it_is_written(text: str) -> tuple[Any, dict[str, TensorSpec]] | None:
    """(metadata, tensors) of a header in the one form that the reference writer writes; None for any other text.

    No space, each tensor as {dtype, shape, data_offsets} with a plain name, the metadata first. A regular expression
    cuts such a text into columns, which takes a third of the time that reading it as JSON takes.
    """
    said, place = None, 1
    if text.startswith(METADATA_FIRST):
        said, place = _METADATA_DECODER.raw_decode(text, len(METADATA_FIRST) - 1)
        _require_characters(said, text[:place])
        if not text.startswith(",", place):
            return None
        place += 1
    if _WRITTEN.match(text, place) is None:
        return None
    parts = _WRITTEN.split(text[place:])
    names, dtypes, written, starts, ends = (parts[column::6] for column in range(1, 6))
    shapes = {shape: _shape(shape) for shape in set(written)}
    if any(parts[::6]) or None in shapes.values() or METADATA in names:
        return None
    sizes = {(dtype, shape): _size(dtype, shapes[shape]) for dtype, shape in set(zip(dtypes, written, strict=True))}
    begins, stops = list(map(int, starts)), list(map(int, ends))
    if list(map(sub, stops, begins)) != list(map(sizes.get, zip(dtypes, written, strict=True))):
        return None
    columns = zip(dtypes, map(shapes.get, written), begins, stops, strict=True)
    tensors = dict(zip(names, map(partial(tuple.__new__, TensorSpec), columns), strict=True))
    return (said, tensors) if len(tensors) == len(names) else None


def _shape(written: str) -> tuple[int, ...] | None:
    """The sizes between the brackets; None unless each is a positive number as JSON has it."""
    sizes = written.split(",", MAX_WRITTEN_DIMENSIONS) if written else []
    return tuple(map(int, sizes)) if all(map(_POSITIVE.fullmatch, sizes)) else None


def _size(dtype: str, shape: tuple[int, ...] | None) -> int | None:
    """The bytes of a tensor; None where they are not whole or cannot be told."""
    bits = DTYPE_BITS.get(dtype, 0) * math.prod(shape or ())
    return bits // 8 if bits and bits % 8 == 0 else None


def _require_characters(document: Any, text: str) -> None:
    """Raise ValueError for an escaped half of a surrogate pair."""
    if "\\u" in text:
        json.dumps(document, ensure_ascii=False).encode("utf-8")


def _unique(pairs: Pairs) -> dict[str, Any]:
    """One JSON object as a dict; ValueError when a name occurs twice."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{name!r} occurs twice")
    return entries


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


_METADATA_DECODER = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_no_constant)


def _integer(text: str) -> int:
    if text == "-0":
        raise ValueError("-0 is no unsigned integer")
    return int(text)


def _metadata(path: Path, entry: Any) -> dict[str, str]:
    if entry is None:
        return {}
    if type(entry) is not tuple or not all(isinstance(value, str) for _, value in entry):
        _refuse(path, f"{METADATA} is not an object of strings")
    try:
        return _unique(entry)
    except ValueError as error:
        _refuse(path, f"in {METADATA}, {error}")


def _tensor(path: Path, name: str, pairs: Any) -> TensorSpec:
    entry = dict(pairs) if type(pairs) is tuple else {}
    if not {"dtype", "shape", "data_offsets"} <= entry.keys():
        _refuse(path, f"tensor {name!r} lacks dtype, shape or data_offsets")
    if len(entry) != len(pairs):
        _refuse(path, f"tensor {name!r} says something twice")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        _refuse(path, f"tensor {name!r} has dtype {dtype!r}, expected one of {', '.join(DTYPE_BITS)}")
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        _refuse_sizes(path, name, shape, offsets)
    spec = TensorSpec(dtype, tuple(shape), *offsets)
    _check_size(path, name, spec)
    return spec


def _refuse_sizes(path: Path, name: str, shape: Any, offsets: Any) -> NoReturn:
    _refuse(path, f"tensor {name!r} has shape {shape!r} and data_offsets {offsets!r}, expected unsigned integers")


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= MAX_UNSIGNED for size in value)


def _check_size(path: Path, name: str, spec: TensorSpec) -> None:
    bits = 1
    for factor in (*spec.shape, DTYPE_BITS[spec.dtype]):
        bits *= factor
        if bits > MAX_UNSIGNED:
            _refuse(path, f"tensor {name!r} of shape {list(spec.shape)} is larger than can be addressed")
    if bits % 8:
        _refuse(path, f"tensor {name!r} ends within a byte: {spec.dtype} {list(spec.shape)}")
    if spec.end - spec.start != bits // 8:
        expected = f"{bits // 8} for {spec.dtype} {list(spec.shape)}"
        _refuse(path, f"tensor {name!r} has {spec.end - spec.start} bytes, expected {expected}")


def _tile(ordered: Sequence[TensorSpec], data_bytes: int) -> bool:
    """Whether each tensor begins where the one before it ends, from the first byte to the last."""
    return [*map(itemgetter(2), ordered), data_bytes] == [0, *map(itemgetter(3), ordered)]


def _check_tiling(path: Path, tensors: Mapping[str, TensorSpec], data_bytes: int) -> None:
    written = list(tensors.values())
    if _tile(written, data_bytes) or _tile(sorted(written, key=_BEGINNING), data_bytes):
        return
    position = 0
    for name, spec in sorted(tensors.items(), key=lambda item: _BEGINNING(item[1])):
        if spec.start != position:
            kind = "overlaps the tensor before it" if spec.start < position else "leaves a hole before it"
            _refuse(path, f"tensor {name!r} begins at {spec.start}, expected {position}: it {kind}")
        position = spec.end
    if position != data_bytes:
        what = "truncated" if position > data_bytes else "bytes after the last tensor"
        _refuse(path, f"{what}: its tensors need {position:,} bytes, the data section has {data_bytes:,}")
