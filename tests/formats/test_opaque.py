import io
import json
import os
import pickle
import pickletools
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from formats import HeaderError, digest, identify, pickled_content


class Trap:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def by_torch(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": Trap(mark)}, buffer)
    return buffer.getvalue()


def by_first_torch(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": Trap(mark)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def in_a_tar(mark: Path) -> bytes:
    buffer, content = io.BytesIO(), pickle.dumps(Trap(mark))
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("storages")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Path], bytes]] = {
    "torch": by_torch,
    "first torch": by_first_torch,
    "tar": in_a_tar,
    **{f"protocol {p}": lambda mark, p=p: pickle.dumps(Trap(mark), p) for p in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors", ".json", ""])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_pickle_is_opaque_under_any_name_and_never_opened(writer: str, suffix: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"model{suffix}"
    path.write_bytes(WRITERS[writer](mark))
    found = identify(path)
    assert (found.kind, found.family.value, found.adapter.value, found.architecture) == (
        "opaque",
        "unknown",
        "unknown",
        None,
    )
    assert found.hashes == digest(path)
    assert "can run code" in found.warnings[0]
    assert not mark.exists()


def test_the_trap_of_these_tests_springs(tmp_path: Path) -> None:
    pickle.loads(WRITERS["protocol 0"](tmp_path / "mark"))
    assert (tmp_path / "mark").is_dir()


def test_a_false_name_is_told(tmp_path: Path) -> None:
    honest, false = tmp_path / "model.ckpt", tmp_path / "model.safetensors"
    for path in (honest, false):
        path.write_bytes(by_torch(tmp_path / "mark"))
    assert "whatever the name 'model.safetensors' says" in identify(false).warnings[0]
    assert "whatever the name" not in identify(honest).warnings[0]


def test_an_adapters_folder_with_pickled_weights_is_opaque(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "adapter_model.bin").write_bytes(by_torch(tmp_path / "mark"))
    assert identify(tmp_path).kind == "opaque"
    (tmp_path / "adapter_model.bin").rename(tmp_path / "adapter_model.safetensors")
    found = identify(tmp_path)
    assert (found.kind, found.hashes) == ("opaque", digest(tmp_path / "adapter_model.safetensors"))
    assert "whatever the name 'adapter_model.safetensors' says" in found.warnings[0]
    assert not (tmp_path / "mark").exists()
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(1, 4, 3, 3)}, tmp_path / "adapter_model.safetensors")
    assert identify(tmp_path).kind == "vector"


def test_safetensors_content_counts_whatever_the_name(tmp_path: Path, write_stripped: Callable) -> None:
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {f"{stem}.lora_down.weight": (4, 768), f"{stem}.lora_up.weight": (1280, 4)}
    path = write_stripped(shapes, name="model.ckpt")
    assert (identify(path, hashes=False).kind, pickled_content(path)) == ("vector", None)


def test_what_is_neither_is_an_error_unless_it_is_named_like_a_pickle(tmp_path: Path) -> None:
    for text in (
        b"",
        b"see.",
        b"0.",
        b"(.",
        b"Lorem ipsum dolor sit amet.",
        b'{"a": 1}',
        b"\x89PNG\r\n\x1a\n" + bytes(50),
    ):
        plain, named = tmp_path / "file.safetensors", tmp_path / "file.pt"
        plain.write_bytes(text)
        named.write_bytes(text)
        assert pickled_content(plain) is None
        with pytest.raises(HeaderError, match="not a readable safetensors file"):
            identify(plain)
        assert identify(named).kind == "opaque"
    with pytest.raises(HeaderError, match="cannot be read"):
        identify(tmp_path / "absent.ckpt")
    assert pickled_content(tmp_path / "absent.ckpt") is None


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.dat"])
def test_a_damaged_header_that_reads_as_opcodes_is_a_refusal_under_its_own_name_and_closed_under_others(
    name: str, tmp_path: Path
) -> None:
    header = b'{"__metadata__":{},"model.diffusion_model.x":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}'
    text = header.ljust(0x1842)
    path = tmp_path / name
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(1))
    assert [code.name for code, *_ in pickletools.genops(path.read_bytes())][-1] == "STOP"
    if name == "model.safetensors":
        with pytest.raises(HeaderError, match="truncated: its tensors need 2 bytes"):
            identify(path)
    else:
        assert identify(path).kind == "opaque"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(2))
    assert identify(path).kind == "unknown"


def test_opcodes_that_ask_for_much_memory_get_none(tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    for content in (
        b"c__main__\nx\n\x8e" + b"\xff" * 8,
        b"(" * 100_000 + b"t" * 100_000,
        b"I" + b"9" * 60_000 + b"\n.",
    ):
        path.write_bytes(content)
        with pytest.raises(HeaderError):
            identify(path)
