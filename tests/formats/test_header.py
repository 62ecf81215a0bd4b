import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from formats import FormatError, HeaderError, read_header, read_scalars
from formats.header import MAX_HEADER_BYTES


def encode(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def compact(header: object, data: bytes = b"") -> bytes:
    """As the reference writer writes it: without a space."""
    return encode(json.dumps(header, separators=(",", ":")).encode(), data)


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


GOOD = {"__metadata__": {"a": "b"}, "x": entry([2, 3], 0, 24), "y": entry([], 24, 28), "z": entry([0], 28, 28)}

REFUSALS = {
    "empty file": (b"", "at least 8"),
    "seven bytes": (b"\1" * 7, "at least 8"),
    "header longer than the file": ((100).to_bytes(8, "little") + b"{}", "truncated"),
    "header over the limit": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "limit"),
    "not beginning with a brace": (encode(b" {}"), "begins with"),
    "empty header": (encode(b""), "begins with"),
    "not JSON": (encode(b"{x}"), "not valid JSON"),
    "not UTF-8": (encode(b'{"\xff": 1}'), "not valid JSON"),
    "lone surrogate": (encode(b'{"\\ud800": {"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'), "not valid JSON"),
    "nested too deep": (encode(b'{"a":' * 100_000), "not valid JSON"),
    "text after the object": (encode(b"{} {}"), "not valid JSON"),
    "duplicate tensor": (
        encode(
            b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            b"\0",
        ),
        "occurs twice",
    ),
    "metadata that is no object": (encode({"__metadata__": 3}), "__metadata__"),
    "metadata with a number": (encode({"__metadata__": {"a": 1}}), "__metadata__"),
    "tensor that is no object": (encode({"x": [1]}), "lacks dtype"),
    "missing offsets": (encode({"x": {"dtype": "F32", "shape": []}}), "lacks dtype"),
    "unknown dtype": (encode({"x": entry([1], 0, 4, "F31")}, bytes(4)), "has dtype"),
    "negative size": (encode({"x": entry([-1], 0, 4)}, bytes(4)), "unsigned"),
    "fractional size": (encode(b'{"x":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"\0"), "unsigned"),
    "NaN size": (encode(b'{"x":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"\0"), "not valid JSON"),
    "boolean size": (encode(b'{"x":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}}', b"\0"), "unsigned"),
    "three offsets": (encode(b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}', b"\0"), "unsigned"),
    "shape and bytes disagree": (encode({"x": entry([2], 0, 4)}, bytes(4)), "has 4 bytes, expected 8"),
    "end before start": (encode({"x": entry([1], 4, 0)}, bytes(4)), "expected 4"),
    "overflow": (encode({"x": entry([2**40, 2**40, 0], 0, 0)}), "larger than can be addressed"),
    "half a byte": (encode({"x": entry([1], 0, 1, "F4")}, b"\0"), "within a byte"),
    "tensor as a list of pairs": (
        encode(b'{"x":[["dtype","U8"],["shape",[1]],["data_offsets",[0,1]]]}', b"\0"),
        "lacks",
    ),
    "a tensor without a name": (encode(b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}', b"\0"), "lacks dtype"),
    "no comma after the metadata": (
        encode(b'{"__metadata__":{}"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
        "not valid JSON",
    ),
    "metadata written as a tensor": (
        encode(b'{"__metadata__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
        "object of strings",
    ),
    "a key of the metadata twice": (encode(b'{"__metadata__":{"a":"b","a":"c"}}'), "occurs twice"),
    "an escaped half of a pair in the metadata": (
        encode(b'{"__metadata__":{"a":"\\ud800"},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
        "not valid JSON",
    ),
    "a number with a leading zero": (encode(b'{"x":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}', b"\0"), "JSON"),
    "padded with NUL": (
        encode(b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' + bytes(7), b"\0"),
        "not valid JSON",
    ),
    "a comma too many": (encode(b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}', b"\0"), "not valid JSON"),
    "overlap": (encode({"x": entry([1], 0, 4), "y": entry([1], 2, 6)}, bytes(6)), "overlaps"),
    "hole": (encode({"x": entry([1], 0, 4), "y": entry([1], 8, 12)}, bytes(12)), "hole"),
    "hole at the beginning": (encode({"x": entry([1], 4, 8)}, bytes(8)), "hole"),
    "truncated data": (encode({"x": entry([2], 0, 8)}, bytes(7)), "truncated"),
    "bytes after the last tensor": (encode({"x": entry([1], 0, 4)}, bytes(5)), "after the last tensor"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_broken_file_is_refused_with_its_path_and_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(HeaderError, match=reason) as refusal:
        read_header(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(HeaderError, match="cannot be read"):
            read_header(path)


def test_names_dtypes_shapes_offsets_and_metadata_are_what_safetensors_wrote(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensors = {"b": np.ones((2, 3), np.float32), "a": np.zeros((4,), np.float16), "s": np.array(7, np.int64)}
    safetensors.numpy.save_file(tensors, path, metadata={"title": "größe"})
    header, raw = read_header(path), path.read_bytes()
    assert header.metadata == {"title": "größe"}
    assert {name: (spec.dtype, spec.shape) for name, spec in header.tensors.items()} == {
        "b": ("F32", (2, 3)),
        "a": ("F16", (4,)),
        "s": ("I64", ()),
    }
    for name, spec in header.tensors.items():
        assert raw[header.data_start + spec.start : header.data_start + spec.end] == tensors[name].tobytes()
    assert header.file_size == len(raw)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int32, np.int64])
def test_a_scalar_is_read_in_every_dtype(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "file.safetensors"
    safetensors.numpy.save_file({"pad": np.zeros(3, np.float32), "alpha": np.array(12, dtype)}, path)
    assert read_scalars(read_header(path), ["alpha"]) == {"alpha": 12.0}


def test_a_bfloat16_scalar_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(encode({"alpha": entry([], 0, 2, "BF16")}, struct.pack("<f", 1.5)[2:]))
    assert read_scalars(read_header(path), ["alpha"]) == {"alpha": 1.5}


def test_a_tensor_of_many_elements_is_no_scalar(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    safetensors.numpy.save_file({"alpha": np.zeros(2, np.float32)}, path)
    with pytest.raises(HeaderError, match="expected one number"):
        read_scalars(read_header(path), ["alpha"])


def reference_accepts(content: bytes) -> bool:
    try:
        safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return False
    return True


def ours_accepts(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        read_header(path)
    except FormatError:
        return False
    return True


BYTES = encode(GOOD, bytes(28))
WRITTEN = compact({name: value for name, value in GOOD.items() if name != "z"}, bytes(28))
EDITS = st.lists(
    st.tuples(st.integers(0, len(BYTES) - 1), st.sampled_from(["set", "insert", "delete"]), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("original", [BYTES, WRITTEN], ids=["spaced", "written"])
@settings(
    max_examples=800, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(EDITS)
@example([(8, "set", 0x20)])
def test_a_file_with_edited_bytes_is_refused_when_the_reference_reader_refuses_it(
    original: bytes, tmp_path: Path, edits: list[tuple[int, str, int]]
) -> None:
    content = bytearray(original)
    for position, edit, byte in edits:
        place = position % max(len(content), 1)
        if edit == "insert":
            content.insert(place, byte)
        elif edit == "delete":
            del content[place]
        else:
            content[place] = byte
    assert ours_accepts(tmp_path / "edited", bytes(content)) == reference_accepts(bytes(content))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shapes=st.dictionaries(NAMES, st.lists(st.integers(0, 3), max_size=3), max_size=5),
    metadata=st.dictionaries(NAMES, NAMES, max_size=3),
    dtype=st.sampled_from(["F32", "U8", "BF16"]),
)
def test_a_header_says_the_same_with_spaces_and_without(shapes, metadata, dtype, tmp_path: Path) -> None:
    size, position, header = {"F32": 4, "U8": 1, "BF16": 2}[dtype], 0, {"__metadata__": metadata}
    for name, shape in shapes.items():
        end = position + size * int(np.prod(shape, dtype=int))
        header[name] = entry(shape, position, end, dtype)
        position = end
    spaced, written = tmp_path / "spaced", tmp_path / "written"
    spaced.write_bytes(encode(header, bytes(position)))
    written.write_bytes(compact(header, bytes(position)))
    first, second = read_header(spaced), read_header(written)
    assert (first.tensors, first.metadata) == (second.tensors, second.metadata)
    assert {name: list(spec.shape) for name, spec in first.tensors.items()} == shapes
    assert reference_accepts(written.read_bytes())


TOKENS = ['"x"', '"y"', '"dtype"', '"F32"', '"F4"', '"shape"', '"data_offsets"', "[", "]", "{", "}", ":", ",", "0", "4"]


@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from([*TOKENS, "-1", "1e3", "null", "true", '"__metadata__"', " "]), max_size=30))
def test_any_sequence_of_json_tokens_raises_nothing_but_a_format_error(tmp_path: Path, tokens: list[str]) -> None:
    content = encode(("{" + "".join(tokens) + "}").encode(), bytes(4))
    if ours_accepts(tmp_path / "tokens", content):
        assert reference_accepts(content)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_format_error(tmp_path: Path, content: bytes) -> None:
    assert ours_accepts(tmp_path / "random", content) == reference_accepts(content)
