"""What a base paints with: its folder, or one file, its family's configuration and a tokenizer from the registry."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from registry import Registry, Version
from sampling import Checkpoint, load_pipeline, paint
from workbench.errors import TokenizerMissing, UnpaintableBase
from workbench.intake.importing import import_file
from workbench.painting.base_files import base_files
from workbench.painting.previewing import preview

HOW = {"solver": "ddim", "steps": 2, "guidance": 1.0, "seeds": [3]}


@pytest.fixture(scope="module")
def checkpoint(pipeline_folder: Path, write_checkpoint, tmp_path_factory) -> Path:
    return write_checkpoint(pipeline_folder, tmp_path_factory.mktemp("file") / "merged.safetensors")


@pytest.mark.parametrize("in_place", [False, True])
def test_one_file_paints_what_its_familys_folder_paints(gallery, checkpoint, in_place) -> None:
    registry = gallery.registry
    import_file(registry, checkpoint, name="merged", in_place=in_place)
    one, folder = (load_pipeline(base_files(registry, registry.get(name))) for name in ("merged", "shapes"))
    pictures = [np.asarray(paint(pipe, ["a red circle"], **HOW).images[0]) for pipe in (one, folder)]
    assert np.array_equal(*pictures)


def test_a_folder_in_place_is_opened_where_it_is(registry: Registry, pipeline_folder: Path) -> None:
    base = import_file(registry, pipeline_folder, name="shapes", in_place=True)
    place = base_files(registry, base)
    weights = place / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.resolve() == pipeline_folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert load_pipeline(place).unet.config.in_channels == 4


def test_a_preview_paints_on_one_file(gallery, checkpoint) -> None:
    import_file(gallery.registry, checkpoint, name="merged")
    how = {"steps": 2, "guidance": 1.0}
    on_file = preview(gallery.registry, "merged + 0.5*soft", ["a red circle"], **how)
    on_folder = preview(gallery.registry, "shapes + 0.5*soft", ["a red circle"], **how)
    assert np.array_equal(*(np.asarray(one.images[0]) for one in (on_file, on_folder)))
    assert on_file.record["base"]["sha256"] != on_folder.record["base"]["sha256"]


def test_what_a_checkpoint_predicts_decides_its_schedule(gallery, checkpoint, tmp_path) -> None:
    marked = {**load_file(checkpoint), "v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    save_file(marked, tmp_path / "velocity.safetensors")
    base = import_file(gallery.registry, tmp_path / "velocity.safetensors", name="velocity")
    scheduler = load_pipeline(base_files(gallery.registry, base)).scheduler.config
    assert (scheduler.prediction_type, scheduler.rescale_betas_zero_snr) == ("v_prediction", True)
    plain = import_file(gallery.registry, checkpoint, name="merged")
    scheduler = load_pipeline(base_files(gallery.registry, plain)).scheduler.config
    assert (scheduler.prediction_type, scheduler.rescale_betas_zero_snr) == ("epsilon", False)


def called(family: str, base: Version) -> Version:
    """The same version, as if its file had been identified as one of `family`."""
    return replace(base, facts={**base.facts, "family": {**base.facts["family"], "value": family}})


def test_a_known_familys_file_takes_a_tokenizer_that_stands_alone(gallery, checkpoint, pipeline_folder: Path) -> None:
    registry = gallery.registry
    base = called("sd15", import_file(registry, checkpoint, name="dream"))
    with pytest.raises(TokenizerMissing, match=r"dream:1: .* sd15 or .*--kind base; .* clip-tokenizer$"):
        base_files(registry, base)
    import_file(registry, pipeline_folder / "tokenizer", name="clip-tokenizer", kind="other")
    found = base_files(registry, base)
    assert isinstance(found, Checkpoint)
    assert (found.tokenizers["tokenizer"] / "vocab.json").is_file()
    assert found.configuration.documents["unet"]["cross_attention_dim"] == 768


def test_a_second_tokenizer_is_the_first_one_padded_differently(gallery, checkpoint, pipeline_folder: Path) -> None:
    registry = gallery.registry
    base = called("sdxl", import_file(registry, checkpoint, name="dream"))
    import_file(registry, pipeline_folder / "tokenizer", name="clip-tokenizer", kind="other")
    found = base_files(registry, base)
    assert isinstance(found, Checkpoint)
    assert found.tokenizers["tokenizer"] == found.tokenizers["tokenizer_2"]
    assert [found.configuration.documents[name]["pad_token"] for name in found.tokenizers] == ["<|endoftext|>", "!"]


def test_a_file_of_an_unknown_familys_kin_needs_a_folder_of_that_family(registry, gallery, checkpoint) -> None:
    base = import_file(registry, checkpoint, name="merged")
    registry.remove("shapes")
    with pytest.raises(UnpaintableBase, match="whose configuration does not ship with Tauworks"):
        base_files(registry, base)


def test_a_unet_alone_is_no_base_that_paints(registry: Registry, pipeline_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline_folder / "unet", tmp_path / "whole" / "unet").parent
    base = import_file(registry, folder, name="alone")
    with pytest.raises(UnpaintableBase, match=r"alone:1: .*model_index\.json is missing.* tau import FOLDER"):
        base_files(registry, base)
