"""Whole models: their family, variant and prediction type, and what is broken about them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from demo.training import networks
from formats import Architecture, FolderError, architecture_of_folder, identify

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def table(small_base: Path) -> Architecture:
    return architecture_of_folder(small_base, "small")


@pytest.fixture
def base(small_base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_base, tmp_path / "base")


def replace_unet(base: Path, **changes: object) -> None:
    """Put a U-Net that differs from the small base's in its configuration."""
    torch.manual_seed(0)
    shutil.rmtree(base / "unet")
    UNet2DConditionModel.from_config(networks.unet().config, **changes).save_pretrained(base / "unet")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def cut(base: Path, part: str) -> None:
    """Leave the U-Net without the tensors whose name begins with `part`."""
    weights = base / "unet" / WEIGHTS
    save_file({k: v.clone() for k, v in load_file(weights).items() if not k.startswith(part)}, weights)


@pytest.mark.parametrize(
    ("changes", "variant"),
    [
        ({}, "standard"),
        ({"in_channels": 9}, "inpaint"),
        ({"in_channels": 5}, "depth"),
        ({"time_cond_proj_dim": 256}, "lcm"),
        ({"time_cond_proj_dim": 64}, "lcm"),
        ({"in_channels": 9, "time_cond_proj_dim": 256}, "inpaint+lcm"),
    ],
)
def test_a_folder_of_a_variant_is_of_its_family(changes: dict, variant: str, base: Path, table: Architecture) -> None:
    replace_unet(base, **changes)
    found = identify(base, architectures=[table])
    assert (found.kind, found.family.value, found.architecture, found.broken) == ("base", "small", "small", None)
    assert found.variant.value == variant


def test_another_number_of_channels_is_no_variant(base: Path, table: Architecture) -> None:
    replace_unet(base, in_channels=6)
    found = identify(base, architectures=[table])
    assert (found.family.value, found.variant.value) == ("unknown", "unknown")


def test_a_unets_own_folder_in_shards_and_its_file_are_a_base_without_a_pipeline(
    base: Path, table: Architecture, tmp_path: Path
) -> None:
    UNet2DConditionModel.from_pretrained(base / "unet").save_pretrained(tmp_path / "shards", max_shard_size="2MB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    folders = (base / "unet", tmp_path / "shards")
    for found in (
        *(identify(f, architectures=[table]) for f in folders),
        identify(base / "unet" / WEIGHTS, architectures=[table]),
    ):
        assert (found.kind, found.family.value, found.layout.value) == ("base", "small", "diffusers")
        assert found.modules == sum(name.startswith("unet.") for name in table.modules)
        assert "text_encoder could not be compared" in found.family.evidence[1]
        assert "a U-Net alone" in found.warnings[0]
    with pytest.raises(FolderError, match="neither a base"):
        identify(base / "vae")


@pytest.mark.parametrize("said", ["epsilon", "v_prediction"])
def test_a_folders_prediction_type_is_its_schedulers(said: str, base: Path, table: Architecture) -> None:
    edit(base / "scheduler" / "scheduler_config.json", prediction_type=said)
    found = identify(base, architectures=[table]).prediction_type
    assert (found.value, found.confidence) == (said, 1.0)


@pytest.mark.parametrize("said", ["flow" * 100, "", 3, ["epsilon"], None])
def test_a_prediction_type_that_nothing_knows_is_unknown_and_quoted(said, base: Path, table: Architecture) -> None:
    edit(base / "scheduler" / "scheduler_config.json", prediction_type=said)
    found = identify(base, architectures=[table]).prediction_type
    assert (found.value, found.confidence) == ("unknown", 0.0)
    assert len(found.evidence[0]) < 200


def test_without_a_scheduler_the_prediction_type_is_unknown(base: Path, table: Architecture) -> None:
    shutil.rmtree(base / "scheduler")
    assert identify(base, architectures=[table]).prediction_type.value == "unknown"


def test_a_base_that_lacks_modules_is_recognised_but_broken(base: Path, table: Architecture) -> None:
    cut(base, "mid_block.resnets.1.")
    found = identify(base, architectures=[table])
    assert (found.kind, found.family.value, found.architecture) == ("base", "small", None)
    assert found.broken.startswith("recognised as small, but broken: it lacks 3 of")
    assert found.broken in found.warnings
    assert found.family.confidence < 1
    assert identify(base / "unet" / WEIGHTS, architectures=[table]).broken.startswith("recognised as small")


def test_a_base_that_lacks_half_its_modules_is_not_recognised(base: Path, table: Architecture) -> None:
    cut(base, "up_blocks.")
    found = identify(base, architectures=[table])
    assert (found.family.value, found.broken) == ("unknown", None)


def test_a_configuration_that_contradicts_the_weights_makes_a_base_broken(base: Path, table: Architecture) -> None:
    edit(base / "unet" / "config.json", cross_attention_dim=31)
    broken = identify(base, architectures=[table]).broken
    assert "unet/config.json says that cross attention reads 31 features" in broken


def test_a_component_that_is_missing_makes_a_base_broken(base: Path, table: Architecture) -> None:
    assert identify(base, architectures=[table]).broken is None
    shutil.rmtree(base / "vae")
    assert "model_index.json names vae" in identify(base, architectures=[table]).broken


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "null"])
@pytest.mark.parametrize("name", ["unet/config.json", "model_index.json", "scheduler/scheduler_config.json"])
def test_configurations_that_are_no_objects_raise_nothing(
    name: str, text: str, base: Path, table: Architecture
) -> None:
    (base / name).write_text(text)
    assert identify(base, architectures=[table]).family.value == "small"


def test_hashes_are_left_out_when_nobody_asks(base: Path, table: Architecture) -> None:
    weights = base / "unet" / WEIGHTS
    assert identify(weights, architectures=[table], hashes=False).hashes is None
    assert identify(weights, architectures=[table]).hashes.size == weights.stat().st_size


def test_a_checkpoint_of_no_known_family_is_unknown_and_says_what_is_nearest(write_stripped: Callable) -> None:
    prefix = "model.diffusion_model"
    shapes = {f"{prefix}.input_blocks.0.0.weight": (320, 4, 3, 3), f"{prefix}.out.2.weight": (4, 320, 3, 3)}
    found = identify(write_stripped(shapes), hashes=False)
    assert (found.kind, found.family.value) == ("unknown", "unknown")
    assert "a whole checkpoint (model.diffusion_model.*) of no known family" in found.warnings[0]
    assert "nearest is" in found.family.evidence[1]
