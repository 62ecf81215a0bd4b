import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from formats import FolderError, HeaderError, architecture_of_folder, is_base_folder


def modules_in_memory(pipeline: StableDiffusionPipeline) -> dict[str, tuple[str, tuple[int, ...]]]:
    kinds = {nn.Linear: "linear", nn.Conv2d: "conv", nn.Embedding: "embedding"}
    found = {}
    for component in ("unet", "text_encoder"):
        for name, module in getattr(pipeline, component).named_modules():
            if type(module) in kinds:
                prefix = "" if component == "unet" or name.startswith("text_model.") else "text_model."
                found[f"{component}.{prefix}{name}"] = (kinds[type(module)], tuple(module.weight.shape))
    return found


def test_the_table_of_a_folder_lists_every_linear_conv_and_embedding(small_pipeline, small_base: Path) -> None:
    table = architecture_of_folder(small_base, "small")
    assert table.name == "small"
    assert {name: (s.kind, s.shape) for name, s in table.modules.items()} == modules_in_memory(small_pipeline)


@pytest.mark.parametrize("writes_prefix", [True, False])
def test_text_encoder_names_begin_text_model_however_transformers_wrote_them(
    writes_prefix: bool, small_base: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_base, tmp_path / "base")
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = {key.removeprefix("text_model."): value for key, value in safetensors.torch.load_file(weights).items()}
    prefix = "text_model." if writes_prefix else ""
    safetensors.torch.save_file({prefix + key: value.clone() for key, value in tensors.items()}, weights)
    assert architecture_of_folder(folder, "same") == architecture_of_folder(small_base, "same")


def test_shards_and_variants_give_the_same_table(small_pipeline, small_base: Path, tmp_path: Path) -> None:
    shutil.copytree(small_base, tmp_path / "sharded", ignore=shutil.ignore_patterns("diffusion_pytorch_model*"))
    small_pipeline.unet.save_pretrained(tmp_path / "sharded" / "unet", max_shard_size="2MB")
    shards = list((tmp_path / "sharded" / "unet").glob("*.safetensors"))
    variant = shutil.copytree(small_base, tmp_path / "variant") / "unet"
    (variant / "diffusion_pytorch_model.safetensors").rename(variant / "diffusion_pytorch_model.fp16.safetensors")
    plain = architecture_of_folder(small_base, "same")
    assert len(shards) > 1
    assert architecture_of_folder(tmp_path / "sharded", "same") == plain
    assert architecture_of_folder(tmp_path / "variant", "same") == plain


def test_a_folder_without_a_unet_is_no_base(tmp_path: Path) -> None:
    assert not is_base_folder(tmp_path)
    with pytest.raises(FolderError, match=r"unet/config\.json is missing"):
        architecture_of_folder(tmp_path, "none")


def test_pickled_weights_alone_are_refused_with_the_remedy(small_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_base, tmp_path / "base")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(FolderError, match="safe_serialization"):
        architecture_of_folder(folder, "base")


def test_a_truncated_component_is_refused_by_name(small_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_base, tmp_path / "base")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(HeaderError, match="truncated"):
        architecture_of_folder(folder, "base")


@pytest.mark.parametrize("index", ["[]", "{", json.dumps({"weight_map": {"a": "../../secret.safetensors"}})])
def test_an_index_that_is_broken_or_leaves_its_folder_is_refused(index: str, small_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_base, tmp_path / "base")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(index)
    with pytest.raises(FolderError, match=r"index\.json"):
        architecture_of_folder(folder, "base")
