"""The identity of an adapter that survives a change of its layout: a kohya file and its PEFT twin share it.

BLAKE3 over sorted lines of JSON. A line a tensor: [module, role, dtype, [rows, columns], BLAKE3 of its bytes], the
module under its table's name; and a line a module: [module, "scale", number], what its product is multiplied with,
wherever the file or its configuration keeps the alpha. Nothing else counts: neither the spelling of a key, nor 1x1
kernels, nor the order, nor the header's other words. The bytes count as they are: another dtype is another vector.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from blake3 import blake3

from formats.adapted_modules import SCALED_BY_CONFIGURATION
from formats.adapter_files import AdapterFile, open_adapter
from formats.architecture import Architecture
from formats.digests import hash_tensors
from formats.folders import is_base_folder
from formats.header import Header, TensorSpec, read_scalars
from formats.layouts import match_table
from formats.marks import kind_of, read_marks
from formats.scales import AlphaRule, alpha_rules
from formats.shapes import rank_of
from formats.spellings import inner_names

FACTORS = frozenset({"down", "up"})
SCALE_DIGITS = 6
"""Significant digits of a scale: alphas of float32 and those of JSON agree in so many."""

ENCODINGS: Mapping[str, str] = {"F16": "<e", "F32": "<f"}
"""Dtypes that round a number, as struct names them."""

AS_JSON = json.JSONEncoder(separators=(",", ":"))

Line = tuple[object, ...]
Modules = Mapping[str, Mapping[str, str]]


def layout_hash(
    path: Path | str,
    architecture: Architecture,
    tensors: Mapping[str, str] | None = None,
    header: Header | None = None,
) -> str | None:
    """The layout-independent hash of the adapter file or folder `path`; None unless the table explains every key.

    `tensors` are the BLAKE3 of its tensors by name where digest() has found them already, `header` the weight file's
    where it was read already; else they are read here.
    Raises HeaderError and FolderError for what cannot be opened.
    """
    path = Path(path)
    if path.is_dir() and is_base_folder(path):
        return None
    opened = open_adapter(path, header)
    modules = _modules(opened, architecture)
    if modules is None:
        return None
    contents = hash_tensors(opened.header) if tensors is None else tensors
    lines = [*_tensor_lines(opened.header, modules, contents), *_scale_lines(opened, modules)]
    texts = sorted(AS_JSON.encode(line) + "\n" for line in lines)
    return blake3("".join(texts).encode("ascii")).hexdigest()


def _modules(opened: AdapterFile, architecture: Architecture) -> Modules | None:
    """The keys of every adapted module by role; None when a key is not accounted for."""
    marks = read_marks(opened.header)
    if marks.strange or not marks.pieces:
        return None
    match = match_table(marks, opened.header, architecture)
    counted = sum(len(roles) for roles in marks.pieces.values())
    if match.misfits or match.unknown_stems or counted < len(opened.header.tensors):
        return None
    return {spelling.module: marks.pieces[stem] for stem, spelling in match.spelled.items()}


def _tensor_lines(header: Header, modules: Modules, contents: Mapping[str, str]) -> Iterator[Line]:
    for module, roles in modules.items():
        for role, key in roles.items():
            if role != "alpha":
                spec = header.tensors[key]
                yield (module, role, spec.dtype, _shape(role, key, spec), contents[key])


def _shape(role: str, key: str, spec: TensorSpec) -> list[object]:
    """What of a shape is no matter of layout: a factor's rows and columns, a magnitude's axis, other shapes whole."""
    if role in FACTORS:
        return [spec.shape[0], math.prod(spec.shape[1:])]
    if role == "magnitude":
        is_by_input = key.endswith(".dora_scale") and len(spec.shape) > 1 and spec.shape[0] == 1
        return ["in" if is_by_input else "out", spec.elements]
    shape = list(spec.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return [*shape]


def _scale_lines(opened: AdapterFile, modules: Modules) -> Iterator[Line]:
    header, rules = opened.header, alpha_rules(opened.header, opened.config)
    stored = read_scalars(header, [roles["alpha"] for roles in modules.values() if "alpha" in roles])
    for module, roles in modules.items():
        shapes = {role: header.tensors[key].shape for role, key in roles.items()}
        key = roles.get("alpha")
        alpha = None if key is None else as_typed(stored[key], header.tensors[key].dtype)
        scale = _scale(module, shapes, alpha, rules)
        if scale is not None:
            yield (module, "scale", f"{scale:.{SCALE_DIGITS}g}")


def _scale(
    module: str, shapes: Mapping[str, tuple[int, ...]], alpha: float | None, rules: Mapping[str, AlphaRule]
) -> float | None:
    """alpha / rank; where a kind has no rank, its alpha as it is: the constraint of OFT. None where it has neither.

    The scale of a LoKr of two whole factors is 1, whatever alpha stands beside it, unless PEFT's configuration has one.
    """
    rank = rank_of(shapes)
    component, _, name = module.partition(".")
    rule, names = rules[component], inner_names(component, name)
    if rank is None and any(role.startswith("lokr") for role in shapes):
        rank = rule.rank_of(names)
        scale = 1.0 if rank is None else rule.alpha_of(names, rank) / rank
        return None if scale == 1 else scale
    if rank is None:
        return alpha
    if alpha is None and kind_of(shapes) in SCALED_BY_CONFIGURATION:
        alpha = rule.alpha_of(names, rank)
    return 1.0 if alpha is None else alpha / rank


def as_typed(value: float, dtype: str) -> float:
    """The shortest decimal number that `dtype` rounds to `value`: 0.3 for the 0.30004883 that F16 makes of it."""
    for digits in range(1, 17):
        shorter = float(f"{value:.{digits}g}")
        if _rounded(shorter, dtype) == value:
            return shorter
    return value


def _rounded(value: float, dtype: str) -> float:
    """`value` as `dtype` holds it; as it is in a dtype that holds it exactly."""
    if not math.isfinite(value):
        return value
    try:
        if dtype == "BF16":
            bits = int.from_bytes(struct.pack("<f", value), "little")
            bits += 0x7FFF + (bits >> 16 & 1)
            return float(struct.unpack("<f", (bits & 0xFFFF0000).to_bytes(4, "little"))[0])
        encoding = ENCODINGS.get(dtype, "<d")
        return float(struct.unpack(encoding, struct.pack(encoding, value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
