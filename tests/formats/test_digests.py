import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from blake3 import blake3

from formats import digest, read_header

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
