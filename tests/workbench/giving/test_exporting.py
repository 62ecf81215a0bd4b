"""Exports: complete, harmless, and the same vector again when they are imported."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

from arithmetic import NotConvertible
from formats import layout_hash
from registry import NotFound, Registry
from workbench.errors import FolderTaken, InvalidAddress, Quarantined, UnsupportedLayout
from workbench.giving.exporting import Exported, export
from workbench.intake.importing import import_file
from workbench.recipes.resolving import Architectures
from workbench.sums.composing import compose

SECRET = "hf_" + "S" * 34
LEAKY = {
    "ss_sd_model_name": "/home/ann/models/sd15.safetensors",
    "ss_network_args": json.dumps({"token": SECRET}),
    "ss_output_name": "papercut",
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture(**texts: str) -> bytes:
    """A small PNG with those text chunks."""
    chunks, out = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        chunks.add_text(key, text)
    Image.new("RGB", (8, 8), "teal").save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


def front_of(folder: Path) -> dict[str, Any]:
    """The front matter of an exported card."""
    return dict(yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1]))


def texts_of(folder: Path) -> str:
    """Every byte of an export, as text."""
    return "".join(path.read_bytes().decode("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def _stocked_home(lora: Callable[..., bytes], write_base: Callable[..., Path], tmp_path_factory: Any) -> Path:
    folder = Path(tmp_path_factory.mktemp("export"))
    with Registry.open(folder / "home") as registry:
        registry.add(write_base(folder / "base"), kind="base", name="tiny")
        (folder / "papercut.safetensors").write_bytes(lora(seed=3, metadata={"ss_output_name": "papercut"}))
        words: dict[str, Any] = {"trigger_words": ("paper cut", "pc"), "recommended_strength": 0.8}
        import_file(registry, folder / "papercut.safetensors", base="tiny", license="openrail++", **words)
        (folder / "leaky.safetensors").write_bytes(lora(seed=5, metadata=LEAKY))
        import_file(registry, folder / "leaky.safetensors", base="tiny")
    return folder / "home"


@pytest.fixture
def papercut(_stocked_home: Path, tmp_path: Path) -> Iterator[Registry]:
    """The base `tiny`, the style `papercut`, and `leaky`, whose header tells where it was made and a secret."""
    with Registry.open(Path(shutil.copytree(_stocked_home, tmp_path / "home", symlinks=True))) as registry:
        yield registry


def test_as_it_is_stored_it_goes_out_to_the_last_bit(papercut: Registry, tmp_path: Path) -> None:
    exported = export(papercut, "papercut", tmp_path / "out")
    assert exported.is_bit_equal
    assert exported.paths == ("README.md", "papercut.safetensors", "provenance.json")
    assert sha256(exported.weights) == papercut.get("papercut").artifacts[0].sha256
    assert exported.layout == "kohya"


@pytest.mark.parametrize("layout", [None, "kohya", "diffusers", "peft"])
def test_what_was_exported_is_the_same_vector_when_it_is_imported(
    papercut: Registry, tmp_path: Path, layout: str | None
) -> None:
    exported = export(papercut, "papercut", tmp_path / "out", layout=layout)
    table = Architectures(papercut).of(papercut.get("papercut"))
    assert table is not None
    original = papercut.file(papercut.get("papercut"))
    assert layout_hash(exported.weights, table) == layout_hash(original, table) == exported.layout_hash
    again = import_file(papercut, tmp_path / "out", name="papercut", kind="style")
    assert (again.ref == "papercut:1") == exported.is_bit_equal == (layout in (None, "kohya"))
    assert not {"README.md", "provenance.json"} & {artifact.path for artifact in again.artifacts}


def test_a_peft_folder_goes_out_and_comes_back_as_the_same_version(papercut: Registry, tmp_path: Path) -> None:
    export(papercut, "papercut", tmp_path / "peft", layout="peft")
    (tmp_path / "peft" / "README.md").write_text("the trainer's own card")
    (tmp_path / "peft" / "provenance.json").unlink()
    stored = import_file(papercut, tmp_path / "peft", name="folder")
    assert {artifact.path for artifact in stored.artifacts} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    exported = export(papercut, "folder", tmp_path / "out")
    assert exported.is_bit_equal
    assert (tmp_path / "out" / "original-README.md").read_text() == "the trainer's own card"
    assert front_of(tmp_path / "out")["library_name"] == "peft"
    assert import_file(papercut, tmp_path / "out", name="folder").ref == "folder:1"


def test_a_base_goes_out_as_its_folder_and_comes_back_as_the_same_version(papercut: Registry, tmp_path: Path) -> None:
    exported = export(papercut, "tiny", tmp_path / "out")
    assert exported.is_bit_equal
    assert "unet/diffusion_pytorch_model.safetensors" in exported.paths
    assert "lora" not in front_of(tmp_path / "out")["tags"]
    assert import_file(papercut, tmp_path / "out", name="tiny").ref == "tiny:1"


def test_the_same_version_gives_the_same_bytes(papercut: Registry, tmp_path: Path) -> None:
    one, two = (export(papercut, "papercut", tmp_path / name, layout="peft") for name in ("one", "two"))
    assert one.paths == two.paths
    assert all((one.folder / path).read_bytes() == (two.folder / path).read_bytes() for path in one.paths)


def test_the_card_says_what_the_hub_needs(papercut: Registry, tmp_path: Path) -> None:
    export(papercut, "papercut", tmp_path / "out", base_model="ann/tiny-base")
    front = front_of(tmp_path / "out")
    assert front["base_model"] == "ann/tiny-base"
    assert front["base_model_relation"] == "adapter"
    assert front["library_name"] == "diffusers"
    assert front["license"] == "openrail++"
    assert front["instance_prompt"] == "paper cut, pc"
    assert {"text-to-image", "diffusers", "lora", "template:sd-lora"} <= set(front["tags"])
    page = (tmp_path / "out" / "README.md").read_text()
    assert "adapter_weights=[0.8]" in page
    assert "`paper cut` `pc`" in page


def test_an_external_base_on_the_hub_is_named(papercut: Registry, lora: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(lora(seed=8))
    import_file(papercut, tmp_path / "x.safetensors", base="external:stable-diffusion-v1-5/stable-diffusion-v1-5")
    export(papercut, "x", tmp_path / "out")
    assert front_of(tmp_path / "out")["base_model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_an_unknown_base_is_left_out_of_the_card_with_a_warning(papercut: Registry, tmp_path: Path) -> None:
    exported = export(papercut, "papercut", tmp_path / "out")
    assert "base_model" not in front_of(tmp_path / "out")
    assert any("--base-model" in warning for warning in exported.warnings)


def test_a_text_that_names_no_repository_is_no_base_model(papercut: Registry, tmp_path: Path) -> None:
    with pytest.raises(InvalidAddress, match="OWNER/NAME"):
        export(papercut, "papercut", tmp_path / "out", base_model="/home/ann/base")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("Apache 2.0", {"license": "apache-2.0"}),
        ("CreativeML OpenRAIL-M", {"license": "creativeml-openrail-m"}),
        ("Our House Licence", {"license": "other", "license_name": "our-house-licence"}),
        (
            "Our Licence https://example.org/licence",
            {"license": "other", "license_name": "our-licence", "license_link": "https://example.org/licence"},
        ),
    ],
)
def test_licences_are_named_as_the_hub_names_them(
    papercut: Registry, lora: Callable[..., bytes], tmp_path: Path, license: str, expected: dict[str, str]
) -> None:
    (tmp_path / "x.safetensors").write_bytes(lora(seed=9))
    import_file(papercut, tmp_path / "x.safetensors", license=license)
    export(papercut, "x", tmp_path / "out")
    front = front_of(tmp_path / "out")
    assert {key: value for key, value in front.items() if key.startswith("license")} == expected


def test_secrets_and_machine_paths_go_and_every_tensor_stays(papercut: Registry, tmp_path: Path) -> None:
    exported = export(papercut, "leaky", tmp_path / "out")
    told = texts_of(tmp_path / "out")
    assert SECRET not in told
    assert "/home/ann" not in told
    assert str(tmp_path) not in told
    assert not exported.is_bit_equal
    assert any("ss_sd_model_name" in warning and "ss_network_args" in warning for warning in exported.warnings)
    stored = load_file(papercut.file(papercut.get("leaky")))
    assert all(torch.equal(tensor, stored[key]) for key, tensor in load_file(exported.weights).items())
    table = Architectures(papercut).of(papercut.get("leaky"))
    assert table is not None
    assert exported.layout_hash == layout_hash(papercut.file(papercut.get("leaky")), table)


@pytest.mark.parametrize("layout", ["diffusers", "peft"])
def test_secrets_and_machine_paths_go_with_a_change_of_layout_too(
    papercut: Registry, tmp_path: Path, layout: str
) -> None:
    export(papercut, "leaky", tmp_path / "out", layout=layout)
    assert SECRET not in texts_of(tmp_path / "out")
    assert "/home/ann" not in texts_of(tmp_path / "out")


def test_a_configuration_loses_the_place_that_it_was_loaded_from(
    papercut: Registry, write_base: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_base(tmp_path / "base")
    config = {"_class_name": "UNet2DConditionModel", "_name_or_path": "/home/ann/sd15", "vocab": {"/home/x": 1}}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    papercut.add(folder, kind="base", name="placed")
    export(papercut, "placed", tmp_path / "out")
    cleaned = json.loads((tmp_path / "out" / "unet" / "config.json").read_text())
    assert cleaned == {**config, "_name_or_path": "sd15"}


def test_the_provenance_names_lineage_recipe_and_proof(papercut: Registry, tmp_path: Path, lora: Any) -> None:
    (tmp_path / "fast.safetensors").write_bytes(lora(seed=6))
    import_file(papercut, tmp_path / "fast.safetensors", kind="acceleration")
    composition = compose(papercut, "0.8*papercut + fast", name="quick")
    assert composition.version is not None
    export(papercut, "quick", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())
    weights = {edge["parent"]: edge["weight"] for edge in told["lineage"]["edges"] if edge["child"] == "quick:1"}
    assert weights["papercut:1"] == 0.8
    assert weights["fast:1"] == 1.0
    digests = {node["ref"]: node["digest"] for node in told["lineage"]["nodes"]}
    assert digests["papercut:1"] == papercut.get("papercut").digest
    assert told["recipe"]["locked"].startswith("0.8*sha256:")
    assert told["certificate"]["worst_relative_error"] < 1e-6
    assert told["files"][0]["sha256"] == sha256(tmp_path / "out" / "quick.safetensors")
    assert "0.8" in (tmp_path / "out" / "README.md").read_text()


def test_what_others_made_of_a_version_is_not_told(papercut: Registry, tmp_path: Path) -> None:
    compose(papercut, "0.5*papercut", name="private-project")
    export(papercut, "papercut", tmp_path / "out")
    assert "private-project" not in texts_of(tmp_path / "out")


def test_previews_go_out_as_pictures_and_fill_the_gallery(papercut: Registry, tmp_path: Path) -> None:
    papercut.add_preview("papercut", {"prompt": "a paper cut fox"}, picture(parameters="a fox"), {})
    export(papercut, "papercut", tmp_path / "out")
    (widget,) = front_of(tmp_path / "out")["widget"]
    assert widget["text"] == "a paper cut fox"
    assert (tmp_path / "out" / widget["output"]["url"]).read_bytes() == picture(parameters="a fox")
    assert "<Gallery />" in (tmp_path / "out" / "README.md").read_text()


def test_a_picture_loses_what_it_should_not_tell_and_no_pixel(papercut: Registry, tmp_path: Path) -> None:
    told = picture(tauworks=json.dumps({"recipe": "/home/ann/x.safetensors", "prompt": "a fox", "key": SECRET}))
    papercut.add_preview("papercut", {"prompt": "a fox"}, told, {})
    export(papercut, "papercut", tmp_path / "out")
    (file,) = (tmp_path / "out" / "images").iterdir()
    with Image.open(file) as image, Image.open(io.BytesIO(told)) as before:
        record = json.loads(image.text["tauworks"])
        assert image.tobytes() == before.tobytes()
    assert record["prompt"] == "a fox"
    assert "/home/ann" not in json.dumps(record)
    assert SECRET not in file.read_bytes().decode("latin-1")


def test_other_pictures_become_png_without_exif(papercut: Registry, tmp_path: Path) -> None:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "made at /home/ann"
    Image.new("RGB", (8, 8), "teal").save(out, "JPEG", exif=exif)
    papercut.add_preview("papercut", {}, out.getvalue(), {})
    papercut.add_preview("papercut", {}, b"no picture at all", {})
    exported = export(papercut, "papercut", tmp_path / "out")
    (file,) = (tmp_path / "out" / "images").iterdir()
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert not image.getexif()
    assert any("no picture" in warning for warning in exported.warnings)


def test_what_people_wrote_does_not_break_out_of_the_card(
    papercut: Registry, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "evil.safetensors").write_bytes(lora(seed=11))
    papercut.add(
        tmp_path / "evil.safetensors",
        kind="style",
        title="x\n---\n# <script>alert(1)</script>",
        description="<img src=x onerror=alert(1)> [click](javascript:alert(1)) [fine](https://example.org)",
        license="mit\nbase_model: evil/evil",
        trigger_words=["a: b\nlicense: none", "```", "<b>"],
        tags={"x: y\n- z": ""},
    )
    export(papercut, "evil", tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    front = front_of(tmp_path / "out")
    assert "base_model" not in front
    assert front["instance_prompt"] == "a: b\nlicense: none, ```, <b>"
    assert "x: y\n- z" in front["tags"]
    body = page.split("---\n", 2)[2]
    assert "<script" not in body
    assert "<img" not in body
    assert "javascript:" not in body
    assert "[fine](https://example.org)" in body


def test_a_folder_with_something_else_in_it_is_never_touched(papercut: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderTaken, match="no export wrote"):
        export(papercut, "papercut", tmp_path / "mine")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FolderTaken):
        export(papercut, "papercut", tmp_path / "file")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_earlier_export_is_replaced_whole_unless_something_was_added(papercut: Registry, tmp_path: Path) -> None:
    export(papercut, "papercut", tmp_path / "out", layout="peft")
    exported = export(papercut, "papercut", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(exported.paths)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FolderTaken, match=r"notes\.txt"):
        export(papercut, "papercut", tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_empty_folder_stays_the_folder_that_it_was(
    papercut: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir(mode=0o750)
    before = (tmp_path / "here").stat()
    monkeypatch.chdir(tmp_path / "here")
    exported = export(papercut, "papercut", Path())
    assert (tmp_path / "here").stat()[:3] == before[:3]
    assert sorted(path.name for path in Path().iterdir()) == sorted(exported.paths)
    assert exported.weights == tmp_path / "here" / "papercut.safetensors"


def test_nothing_is_left_when_it_fails(papercut: Registry, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UnsupportedLayout):
        export(papercut, "papercut", tmp_path / "out", layout="onnx")
    with pytest.raises(UnsupportedLayout, match="base"):
        export(papercut, "tiny", tmp_path / "out", layout="peft")
    with pytest.raises(NotFound):
        export(papercut, "nothing", tmp_path / "out")
    with pytest.raises(UnsupportedLayout):
        export(papercut, "papercut", tmp_path / "not" / "there" / "out", layout="onnx")
    assert sorted(tmp_path.iterdir()) == before


def test_a_kind_that_has_no_other_spelling_goes_out_as_it_is(
    papercut: Registry, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "x.safetensors").write_bytes(lora(seed=2))
    tensors = load_file(tmp_path / "x.safetensors")
    stem = "lora_unet_mid_block_attentions_0_to_q"
    save_file(tensors | {f"{stem}.dora_scale": torch.ones(8, 1)}, tmp_path / "dora.safetensors")
    import_file(papercut, tmp_path / "dora.safetensors", kind="style")
    with pytest.raises(NotConvertible, match="dora"):
        export(papercut, "dora", tmp_path / "out", layout="peft")
    exported = export(papercut, "dora", tmp_path / "out")
    assert exported.is_bit_equal
    assert "dora" in front_of(tmp_path / "out")["tags"]


@pytest.mark.parametrize("name", ["weights.ckpt", "weights.pt", "renamed.txt"])
def test_a_pickle_is_never_given_out(papercut: Registry, tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / name)
    opaque = papercut.add(tmp_path / name, kind="other", name="opaque")
    with pytest.raises(Quarantined):
        export(papercut, opaque.ref, tmp_path / "out")


def test_hash_claims_that_a_new_layout_makes_wrong_are_dropped(
    papercut: Registry, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    claims = {"sshs_model_hash": "a" * 64, "ss_output_name": "x", "modelspec.hash_sha256": f"0x{'b' * 64}"}
    (tmp_path / "x.safetensors").write_bytes(lora(seed=12, metadata=claims))
    import_file(papercut, tmp_path / "x.safetensors")
    converted = export(papercut, "x", tmp_path / "out", layout="diffusers")
    kept = export(papercut, "x", tmp_path / "kept")
    assert _claims(converted) == {"ss_output_name"}
    assert _claims(kept) == claims.keys()


def _claims(exported: Exported) -> set[str]:
    from formats import read_header

    return {key for key in read_header(exported.weights).metadata if re.match("sshs|modelspec|ss_", key)}


def test_the_exported_files_are_nobodys_links(papercut: Registry, tmp_path: Path) -> None:
    exported = export(papercut, "papercut", tmp_path / "out")
    exported.weights.write_bytes(b"edited by another tool")
    shutil.rmtree(tmp_path / "out")
    assert export(papercut, "papercut", tmp_path / "out").is_bit_equal
