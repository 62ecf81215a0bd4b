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
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from formats.errors import HeaderError

MAX_HEADER_BYTES = 100_000_000
"""The reference reader's own limit."""

MAX_VALUES = 4_000_000
"""More commas and brackets than any real header has: it bounds the memory that reading one takes."""

MAX_UNSIGNED = 2**64 - 1
MAX_PLAIN_DIMENSIONS = 16
"""A longer shape is multiplied step by step, so that the product stops before it grows."""

METADATA = "__metadata__"

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
_SHAPE = itemgetter(1)
_BEGINNING = itemgetter(2, 3)

_MINUS_ZERO = re.compile(rb"[\[,:]\s*-0\s*[,\]}]")

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
        for name in names:
            raw = _read(header, name, file.fileno())
            spec = header.tensors[name]
            if spec.elements != 1:
                _refuse(header.path, f"tensor {name!r} is {spec.dtype} {list(spec.shape)}, expected one number")
            if (spec.dtype, raw) not in known:
                known[spec.dtype, raw] = _decoded(spec.dtype, raw)[0]
            found[name] = known[spec.dtype, raw]
    return found


def read_numbers(header: Header, name: str) -> tuple[float, ...]:
    """The elements of the small tensor `name`. Raises HeaderError for a dtype that is no number's."""
    with header.path.open("rb") as file:
        return _decoded(header.tensors[name].dtype, _read(header, name, file.fileno()))


def _read(header: Header, name: str, descriptor: int) -> bytes:
    dtype, shape, start, end = header.tensors[name]
    if dtype not in _NUMBERS or end - start > MAX_NUMBERS_BYTES:
        _refuse(header.path, f"tensor {name!r} is {dtype} {list(shape)}, expected one number or a few")
    raw = os.pread(descriptor, end - start, header.data_start + start)
    if len(raw) != end - start:
        _refuse(header.path, f"tensor {name!r} ends after {len(raw)} of {end - start} bytes")
    return raw


def _decoded(dtype: str, raw: bytes) -> tuple[float, ...]:
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
        pairs: Pairs = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=tuple,
            parse_constant=_no_constant,
            parse_int=_integer if b"-" in raw and _MINUS_ZERO.search(raw) else None,
        )
        if b"\\" in raw and b"\\u" in raw:
            json.dumps(pairs, ensure_ascii=False).encode("utf-8")  # refuses an escaped half of a surrogate pair
        metadata = _metadata(path, pairs)
        entries = [pair for pair in pairs if pair[0] != METADATA]
        tensors = _plain_tensors(entries) or {name: _tensor(path, name, entry) for name, entry in entries}
        _unique(pairs)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"its header is not valid JSON: {error}")
    return tensors, metadata


def _unique(pairs: Pairs) -> dict[str, Any]:
    """One JSON object as a dict; ValueError when a name occurs twice."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{name!r} occurs twice")
    return entries


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _integer(text: str) -> int:
    if text == "-0":
        raise ValueError("-0 is no unsigned integer")
    return int(text)


def _metadata(path: Path, pairs: Pairs) -> dict[str, str]:
    entry = next((value for name, value in pairs if name == METADATA), None)
    if entry is None:
        return {}
    if not isinstance(entry, tuple) or not all(isinstance(value, str) for _, value in entry):
        _refuse(path, f"{METADATA} is not an object of strings")
    return _unique(entry)


def _plain_tensors(entries: Pairs) -> dict[str, TensorSpec] | None:
    """All tensors at once where each is written as every tool writes it; None where one needs a closer look.

    The checks are those of `_tensor`, made for the whole header together: a header of 3,000 tensors in 3 ms.
    """
    tensors: dict[str, TensorSpec] = {}
    new = tuple.__new__
    try:
        for name, entry in entries:
            (first, dtype), (second, shape), (third, (start, end)) = entry
            if type(entry) is not tuple or type(shape) is not list or len(shape) > MAX_PLAIN_DIMENSIONS:
                return None
            bits = math.prod(shape) * DTYPE_BITS[dtype]
            if first != "dtype" or second != "shape" or third != "data_offsets" or not 0 < bits == (end - start) * 8:
                return None
            tensors[name] = new(TensorSpec, (dtype, tuple(shape), start, end))
    except (TypeError, ValueError, KeyError):
        return None
    specs = tensors.values()
    sizes = [*chain.from_iterable(map(_SHAPE, specs)), *chain.from_iterable(map(_BEGINNING, specs))]
    is_sound = set(map(type, sizes)) <= {int} and min(sizes, default=0) >= 0
    return tensors if is_sound else None


def _tensor(path: Path, name: str, pairs: Any) -> TensorSpec:
    entry = _unique(pairs) if isinstance(pairs, tuple) else {}
    if not {"dtype", "shape", "data_offsets"} <= entry.keys():
        _refuse(path, f"tensor {name!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        _refuse(path, f"tensor {name!r} has dtype {dtype!r}, expected one of {', '.join(DTYPE_BITS)}")
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        _refuse(path, f"tensor {name!r} has shape {shape!r} and data_offsets {offsets!r}, expected unsigned integers")
    spec = TensorSpec(dtype, tuple(shape), *offsets)
    _check_size(path, name, spec)
    return spec


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


def _check_tiling(path: Path, tensors: Mapping[str, TensorSpec], data_bytes: int) -> None:
    ordered = sorted(tensors.values(), key=_BEGINNING)
    if [*map(itemgetter(2), ordered), data_bytes] == [0, *map(itemgetter(3), ordered)]:
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
