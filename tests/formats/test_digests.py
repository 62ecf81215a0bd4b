import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formats import FileChanged, digest, read_header
from formats.broadcast import BUFFERS, CHUNK_BYTES, INLINE_BYTES
from formats.digests import hash_tensors

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.ones(5, np.float16),
    "c": np.zeros((0, 2), np.int8),
}


def write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    return path


def reordered(source: Path, path: Path) -> Path:
    """The tensors of `source` laid out in the opposite order."""
    header, raw = read_header(source), source.read_bytes()
    entries, data = {}, b""
    for name, spec in sorted(header.tensors.items(), reverse=True):
        content = raw[header.data_start + spec.start : header.data_start + spec.end]
        offsets = [len(data), len(data) + len(content)]
        entries[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": offsets}
        data += content
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_whole_file_and_data_section_are_hashed_as_their_definitions_say(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", TENSORS, {"note": "x"})
    raw, found = path.read_bytes(), digest(path)
    start = read_header(path).data_start
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert found.blake3 == blake3(raw).hexdigest()
    assert found.data_sha256 == hashlib.sha256(raw[start:]).hexdigest()
    assert found.size == len(raw)


def test_the_tensor_hash_is_blake3_over_sorted_names_dtypes_shapes_and_contents(tmp_path: Path) -> None:
    names = {"a": "F32", "b": "F16", "c": "I8"}
    lines = [
        json.dumps([name, names[name], list(t.shape), blake3(t.tobytes()).hexdigest()], separators=(",", ":")) + "\n"
        for name, t in sorted(TENSORS.items())
    ]
    expected = blake3("".join(lines).encode()).hexdigest()
    assert digest(write(tmp_path / "a.safetensors", TENSORS)).tensor_hash == expected


def test_an_edited_header_changes_the_file_hashes_alone(tmp_path: Path) -> None:
    plain = digest(write(tmp_path / "a.safetensors", TENSORS))
    edited = digest(write(tmp_path / "b.safetensors", TENSORS, {"title": "other"}))
    assert plain.sha256 != edited.sha256
    assert plain.blake3 != edited.blake3
    assert (plain.data_sha256, plain.tensor_hash) == (edited.data_sha256, edited.tensor_hash)


def test_reordered_tensors_keep_the_tensor_hash_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", TENSORS)
    plain, other = digest(path), digest(reordered(path, tmp_path / "b.safetensors"))
    assert plain.tensor_hash == other.tensor_hash
    assert plain.data_sha256 != other.data_sha256


def test_a_name_a_dtype_a_shape_or_a_value_changes_the_tensor_hash(tmp_path: Path) -> None:
    value = np.zeros(4, np.float32)
    variants = [{"x": value}, {"y": value}, {"x": value.view(np.int32)}, {"x": value.reshape(2, 2)}, {"x": value + 1}]
    hashes = {digest(write(tmp_path / f"{i}.safetensors", tensors)).tensor_hash for i, tensors in enumerate(variants)}
    assert len(hashes) == len(variants)


def test_a_file_larger_than_one_chunk_is_hashed_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"x": np.arange(3_000_000, dtype=np.float32)})
    assert digest(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_another_format_has_no_tensor_hashes(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"{}")
    found = digest(path)
    assert found.sha256 == hashlib.sha256(b"{}").hexdigest()
    assert (found.data_sha256, found.tensor_hash) == (None, None)


def reheadered(source: Path, path: Path, metadata: dict[str, str], padding: int) -> Path:
    """The data section of `source` under another header: other metadata, other spaces at its end."""
    header, raw = read_header(source), source.read_bytes()
    entries: dict[str, object] = {"__metadata__": metadata}
    for name, spec in header.tensors.items():
        entries[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [spec.start, spec.end]}
    text = json.dumps(entries).encode() + b" " * padding
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[header.data_start :])
    return path


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=8),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
    st.integers(0, 200),
)
def test_any_edit_of_the_header_changes_the_file_hashes_alone(tmp_path: Path, shapes, metadata, padding) -> None:
    shapes.pop("__metadata__", None)
    tensors = {name: np.full(shape, i, np.float16) for i, (name, shape) in enumerate(shapes.items())}
    plain = write(tmp_path / "a.safetensors", tensors)
    one, two = digest(plain), digest(reheadered(plain, tmp_path / "b.safetensors", {"a": "b", **metadata}, padding))
    assert (one.data_sha256, one.tensor_hash, one.tensors) == (two.data_sha256, two.tensor_hash, two.tensors)
    assert one.sha256 != two.sha256
    assert one.blake3 != two.blake3


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=8))
def test_any_reordering_keeps_the_tensor_hash(tmp_path: Path, shapes) -> None:
    shapes.pop("__metadata__", None)
    tensors = {name: np.full(shape, i, np.float16) for i, (name, shape) in enumerate(shapes.items())}
    path = write(tmp_path / "a.safetensors", tensors)
    assert digest(path).tensor_hash == digest(reordered(path, tmp_path / "b.safetensors")).tensor_hash


def test_tensors_across_chunks_are_hashed_as_their_bytes(tmp_path: Path) -> None:
    """Seven tensors of odd sizes, from none to several chunks, in a file that is read by several threads."""
    rng = np.random.default_rng(0)
    sizes = [0, 1, CHUNK_BYTES - 3, 3 * CHUNK_BYTES + 1, 0, INLINE_BYTES, 17]
    tensors = {f"t{i}": rng.integers(0, 256, size, np.uint8) for i, size in enumerate(sizes)}
    path = write(tmp_path / "a.safetensors", tensors)
    raw, found = path.read_bytes(), digest(path)
    assert dict(found.tensors) == {name: blake3(t.tobytes()).hexdigest() for name, t in tensors.items()}
    assert hash_tensors(read_header(path)) == found.tensors
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert found.data_sha256 == hashlib.sha256(raw[read_header(path).data_start :]).hexdigest()
    assert found.blake3 == blake3(raw).hexdigest()


@pytest.mark.parametrize("count", [3, 6_000_000])
def test_a_sink_gets_the_file_that_is_hashed(count: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"x": np.arange(count, dtype=np.uint8)})
    with (tmp_path / "copy").open("wb") as copy:
        found = digest(path, copy.write)
    assert digest(tmp_path / "copy") == found == digest(path)


@pytest.mark.parametrize("count", [3, 6_000_000])
def test_a_file_that_grows_while_it_is_hashed_is_refused(count: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"x": np.arange(count, dtype=np.uint8)})

    def append(chunk: memoryview) -> None:
        if path.stat().st_size < 2 * count + 1000:
            with path.open("ab") as file:
                file.write(b"more")

    with pytest.raises(FileChanged, match="changed while it was read"):
        digest(path, append)


def test_a_file_that_another_replaces_while_it_is_hashed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"x": np.zeros(9, np.uint8)})
    other = write(tmp_path / "b.safetensors", {"x": np.ones(9, np.uint8)})
    with pytest.raises(FileChanged):
        digest(path, lambda chunk: other.replace(path) if other.exists() else None)


def test_memory_stays_constant_however_large_the_file(tmp_path: Path) -> None:
    size, path = 200 << 20, tmp_path / "a.safetensors"
    text = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + size)
    tracemalloc.start()
    try:
        digest(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * BUFFERS * CHUNK_BYTES


def test_a_file_without_a_byte_of_data_has_no_hash_of_nothing(tmp_path: Path) -> None:
    assert (digest(write(tmp_path / "a.safetensors", {})).tensor_hash) is None
    hollow = digest(write(tmp_path / "b.safetensors", {"x": np.zeros((0, 3), np.float32)}))
    assert hollow.data_sha256 is None
    assert hollow.tensor_hash is not None


def test_the_trainers_claim_of_another_content_is_disputed(tmp_path: Path) -> None:
    plain = digest(write(tmp_path / "a.safetensors", TENSORS))
    honest = digest(write(tmp_path / "b.safetensors", TENSORS, {"sshs_model_hash": plain.data_sha256}))
    wrong = digest(write(tmp_path / "c.safetensors", TENSORS, {"sshs_model_hash": "ab" * 32}))
    assert (plain.disputed, honest.disputed, wrong.disputed) == ((), (), ("autov3", "sshs_model"))
    assert honest.short["autov3"] == plain.data_sha256[:12]


def test_the_json_holds_every_identity_and_no_single_tensor(tmp_path: Path) -> None:
    found = digest(write(tmp_path / "a.safetensors", TENSORS, {"sshs_model_hash": "ab" * 32}))
    said = found.to_json()
    assert json.loads(json.dumps(said)) == said
    assert said["autov2"] == found.sha256[:10]
    assert said["short"] == {"autov3": "ab" * 6, "crc32": found.short["crc32"], "sshs_model": "ab" * 32}
    assert "tensors" not in said
