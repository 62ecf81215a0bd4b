"""What the catalog keeps to know content again: short hashes of each blob, the layout-independent hash of a vector."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from formats import digest
from registry import Registry, Version
from registry.tables import AdapterFactsRow, BlobHashRow

Write = Callable[..., Path]


@pytest.fixture
def base(registry: Registry, write_base: Write) -> Version:
    return registry.add(write_base(), kind="base", name="tiny")


def short_hashes(registry: Registry, sha256: str) -> dict[str, str]:
    with registry.database.reading() as uow:
        rows = uow.session.scalars(select(BlobHashRow).where(BlobHashRow.blob_sha256 == sha256))
        return {row.kind: row.value for row in rows}


def layout_hash_of(registry: Registry, version: Version) -> str | None:
    with registry.database.reading() as uow:
        rows = select(AdapterFactsRow.layout_hash).where(AdapterFactsRow.version_id == version.id)
        return uow.session.scalar(rows)


def peft_twin(kohya: Path, folder: Path) -> Path:
    """The tensors of a kohya file of the tiny base, saved as PEFT saves them."""
    raw = kohya.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8:start])
    entries.pop("__metadata__", None)
    dotted = {
        "conv_in": "conv_in",
        "mid_block_attentions": "mid_block.attentions.",
        "down_blocks_0_attentions": "down_blocks.0.attentions.",
    }
    renamed = {}
    for key, entry in entries.items():
        name, end = key.removeprefix("lora_unet_").split(".", 1)
        for flat, prefix in dotted.items():
            if name.startswith(flat):
                rest = name.removeprefix(flat).removeprefix("_")
                rest = rest.replace("transformer_blocks_0_", "transformer_blocks.0.").replace("attn2_", "attn2.")
                name = prefix + rest.replace("0_", "0.", 1)
        piece = "lora_A" if "down" in end else "lora_B"
        renamed[f"base_model.model.{name}.{piece}.weight"] = entry
    text = json.dumps(renamed).encode()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw[start:])
    (folder / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 2}')
    return folder


@pytest.mark.usefixtures("base")
def test_the_short_hashes_of_a_file_are_rows_once_however_often_it_comes(
    registry: Registry, write_vector: Write
) -> None:
    path = write_vector(metadata={"sshs_model_hash": "ab" * 32, "sshs_legacy_hash": "e3b0c442"})
    sha256 = registry.add(path, kind="style").artifacts[0].sha256
    expected = {"autov3": "ab" * 6, "crc32": digest(path).short["crc32"], "sshs_model": "ab" * 32}
    assert short_hashes(registry, sha256) == expected
    registry.add(path, kind="style", name="again")
    assert short_hashes(registry, sha256) == expected


@pytest.mark.usefixtures("base")
def test_a_kohya_file_and_its_peft_folder_are_one_vector_to_the_catalog(
    registry: Registry, write_vector: Write, tmp_path: Path
) -> None:
    kohya = registry.add(write_vector(), kind="style")
    peft = registry.add(peft_twin(write_vector(), tmp_path / "peft"), kind="style", name="peft")
    other = registry.add(write_vector("other", seed=1), kind="style")
    assert kohya.artifacts[0].sha256 != peft.artifacts[-1].sha256
    assert layout_hash_of(registry, kohya) == layout_hash_of(registry, peft) is not None
    assert layout_hash_of(registry, other) != layout_hash_of(registry, kohya)


def test_a_base_has_no_layout_independent_hash(registry: Registry, base: Version) -> None:
    assert layout_hash_of(registry, base) is None


@pytest.mark.usefixtures("base")
def test_the_facts_of_a_version_carry_every_digest_of_its_file(registry: Registry, write_vector: Write) -> None:
    path = write_vector()
    assert registry.add(path, kind="style").facts["hashes"] == digest(path).to_json()


@pytest.mark.usefixtures("base")
def test_what_a_files_words_would_give_away_does_not_become_a_title(registry: Registry, write_vector: Write) -> None:
    words = {"modelspec.title": "hf_" + "a" * 34, "modelspec.description": "from /home/zorblatt/cuts", "ss_seed": "1"}
    vector = registry.add(write_vector(metadata=words), kind="style")
    assert (vector.title, vector.description) == ("[removed]", "from cuts")
    assert vector.origin.embedded == {"weights.safetensors": words}
