"""The files that go out: of sound bytes alone, and without what must not leave this machine."""

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from registry import CorruptBlob, Registry
from workbench.giving.exporting import export
from workbench.intake.importing import import_file

SECRET = "hf_" + "S" * 34


@pytest.fixture(scope="module")
def _stocked_home(lora: Callable[..., bytes], write_base: Callable[..., Path], tmp_path_factory: Any) -> Path:
    folder = Path(tmp_path_factory.mktemp("weights"))
    with Registry.open(folder / "home") as registry:
        registry.add(write_base(folder / "base"), kind="base", name="tiny")
        for name, metadata in (("papercut", {}), ("leaky", {"token": SECRET})):
            (folder / f"{name}.safetensors").write_bytes(lora(seed=3, metadata=metadata))
            import_file(registry, folder / f"{name}.safetensors", base="tiny")
    return folder / "home"


@pytest.fixture
def papercut(_stocked_home: Path, tmp_path: Path) -> Iterator[Registry]:
    """The base `tiny`, the style `papercut`, and `leaky`, whose header tells a secret."""
    with Registry.open(Path(shutil.copytree(_stocked_home, tmp_path / "home", symlinks=True))) as registry:
        yield registry


@pytest.mark.parametrize("layout", [None, "kohya", "diffusers", "peft"])
@pytest.mark.parametrize("name", ["papercut", "leaky"])
def test_stored_bytes_that_rotted_are_never_given_out(
    papercut: Registry, tmp_path: Path, name: str, layout: str | None
) -> None:
    blob = papercut.blob_path(papercut.get(name).artifacts[0].sha256)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(CorruptBlob, match="expected"):
        export(papercut, name, tmp_path / "out", layout=layout)
    assert not (tmp_path / "out").exists()


def test_a_configuration_that_rotted_is_not_read_for_another_layout(papercut: Registry, tmp_path: Path) -> None:
    export(papercut, "papercut", tmp_path / "peft", layout="peft")
    import_file(papercut, tmp_path / "peft", name="folder", kind="style")
    (config,) = (one for one in papercut.get("folder").artifacts if one.path == "adapter_config.json")
    blob = papercut.blob_path(config.sha256)
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content.replace(b'"lora_alpha": 2', b'"lora_alpha": 8'))
    assert blob.read_bytes() != content
    with pytest.raises(CorruptBlob, match=r"adapter_config\.json"):
        export(papercut, "folder", tmp_path / "out", layout="kohya")


@pytest.fixture
def told(papercut: Registry, tmp_path: Path) -> Path:
    """A PEFT folder with the weights of papercut, whose configurations and notes tell a secret and a path."""
    folder = export(papercut, "papercut", tmp_path / "peft", layout="peft").folder
    (folder / "README.md").write_text(f"Trained with {SECRET} in /home/ann/private/run")
    (folder / "provenance.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    leaks = {"hub_token": SECRET, "output_dir": "/home/ann/private/run"}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **leaks}))
    (folder / "training_config.json").write_text(json.dumps({"deep": [leaks], SECRET: 1}))
    (folder / "log.jsonl").write_text(json.dumps(leaks) + "\n")
    (folder / "train.yaml").write_text("".join(f"{key}: {value}\n" for key, value in leaks.items()))
    (folder / "notes.txt").write_text(f"{SECRET}\n/home/ann/private/run\n")
    (folder / "words.txt").write_bytes("caf\u00e9".encode("latin-1"))
    return folder


def test_no_file_of_a_version_tells_a_secret_or_a_path(papercut: Registry, told: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    papercut.add(
        told,
        kind="style",
        name="told",
        title=f"Told {SECRET}",
        description="/home/ann/private/run",
        trigger_words=[f"word {SECRET}"],
        tags={f"tag-{SECRET}": ""},
        sampling={"solver": f"/home/ann/{SECRET}"},
    )
    pixels = io.BytesIO()
    Image.new("RGB", (8, 8)).save(pixels, "PNG")
    papercut.add_preview("told", {"prompt": f"a fox {SECRET}"}, pixels.getvalue(), {})
    exported = export(papercut, "told", tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    everything = "".join(path.read_bytes().decode("utf-8", "replace") for path in files)
    assert SECRET not in everything
    assert "/home/ann" not in everything
    said = "\n".join(exported.warnings)
    assert SECRET not in said
    for file in ("adapter_config", "training_config", "log", "train", "notes", "original-README"):
        assert re.search(rf"{file}\.\w+: secrets or machine paths were taken out", said), file
    assert "adapter_config.json: secrets or machine paths were taken out of hub_token, output_dir" in said
    assert re.search(r"words\.txt: was not looked through.*UTF-8", said)
    with pytest.warns(UserWarning, match="hub_token"):
        assert LoraConfig.from_pretrained(tmp_path / "out").r == 2
    assert yaml.safe_load((tmp_path / "out" / "train.yaml").read_text())["hub_token"] == "[removed]"
