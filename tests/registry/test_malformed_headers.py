"""Every class of malformed safetensors: refused by name on both databases, and no row, blob or staged byte is left."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from formats import FormatError
from registry import NotFound, Registry

Stored = Callable[[], set[str]]

STEM = "lora_unet_conv_in"


def encode(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape: list[int], start: int, end: int, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


ONE = b'"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'

MALFORMED = {
    "length above the limit": encode(b"{}", length=100_000_001),
    "length beyond the file": encode(b"{}", length=1 << 20),
    "length of 63 bits": encode(b"{}", length=2**63),
    "duplicate keys": encode(b"{" + ONE + b"," + ONE + b"}", b"\0"),
    "overlap": encode({"x": entry([2], 0, 2), "y": entry([2], 1, 3)}, bytes(3)),
    "hole": encode({"x": entry([1], 0, 1), "y": entry([1], 2, 3)}, bytes(3)),
    "shape times dtype is not bytes": encode({"x": entry([2], 0, 4, "F32")}, bytes(4)),
    "metadata that are no strings": encode({"__metadata__": {"a": {"b": 1}}, "x": entry([1], 0, 1)}, b"\0"),
    "padded with NUL": encode(b"{" + ONE + b"}" + bytes(6), b"\0"),
    "depth bomb of objects": encode(b'{"a":' * 200_000),
    "depth bomb of lists": encode(b'{"a":' + b"[" * 1_000_000),
    "millions of values": encode(b'{"a":[' + b"0," * 5_000_000 + b"0]}"),
    "data that end early": encode({"x": entry([9], 0, 9)}, bytes(8)),
    "data that go on": encode({"x": entry([1], 0, 1)}, bytes(2)),
    "half a surrogate pair": encode(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
    "size above 64 bits": encode({"x": entry([2**40, 2**40, 0], 0, 0)}),
}


@pytest.mark.both_databases
@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused_by_name_and_nothing_of_it_is_left(
    registry: Registry, tmp_path: Path, stored_files: Stored, content: bytes
) -> None:
    path = tmp_path / "malformed.safetensors"
    path.write_bytes(content)
    before = stored_files()
    for kind in ("style", "base", "other"):
        for in_place in (False, True):
            with pytest.raises(FormatError, match=r"malformed\.safetensors: not a readable safetensors file"):
                registry.add(path, kind=kind, in_place=in_place)
    assert stored_files() == before
    assert registry.search() == []
    with pytest.raises(NotFound):
        registry.get("malformed")


STRANGE = {
    "a rank beyond every number": {f"{STEM}.lora_down.weight": [2**40, 0], f"{STEM}.lora_up.weight": [0, 2**40]},
    "a name with NUL": {"a\0b.lora_down.weight": [4, 3], "a\0b.lora_up.weight": [3, 4]},
    "a name of 100,000 letters": {"a" * 100_000: [1]},
    "an empty name": {"": [1]},
    "names of markup": {"<script>alert(1)</script>.lora_down.weight": [4, 3]},
    "a hundred dimensions": {"x.lora_down.weight": [1] * 100, "x.lora_up.weight": [1] * 100},
    "no tensor": {},
}


@pytest.mark.both_databases
@pytest.mark.parametrize("shapes", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_file_that_is_no_malformed_one_is_kept_and_found_again(
    registry: Registry, tmp_path: Path, shapes: dict[str, list[int]]
) -> None:
    header, position = {}, 0
    for name, shape in shapes.items():
        size = 1
        for length in shape:
            size *= length
        header[name] = entry(shape, position, position + size)
        position += size
    path = tmp_path / "strange.safetensors"
    path.write_bytes(encode(header, bytes(position)))
    version = registry.add(path, kind="other")
    assert registry.get(version.ref).facts == version.facts
    assert [one.ref for one in registry.search(kind="other")] == ["strange:1"]
