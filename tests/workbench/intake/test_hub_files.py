"""Which files of a repository make one model."""

import pytest

from workbench.intake.hub_files import choose_files

SD15 = (
    ".gitattributes",
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "v1-5-pruned.ckpt",
    "v1-5-pruned-emaonly.safetensors",
)


def test_a_base_is_its_components_in_full_precision_without_pickles_or_checkpoints() -> None:
    assert set(choose_files(SD15)) == {
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }


def test_a_base_that_has_one_variant_only_comes_in_that_variant() -> None:
    names = [name for name in SD15 if not name.endswith(("model.safetensors", "non_ema.safetensors"))]
    weights = {name for name in choose_files(names) if name.endswith(".safetensors")}
    assert weights == {"text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"}


def test_shards_come_with_their_index() -> None:
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    other = "unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors"
    pickled = "unet/diffusion_pytorch_model.bin.index.json"
    chosen = choose_files(["unet/config.json", *shards, index, other, pickled])
    assert set(chosen) == {"unet/config.json", *shards, index}


def test_a_peft_vector_is_its_two_files() -> None:
    assert choose_files(["README.md", "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]) == (
        "adapter_config.json",
        "adapter_model.safetensors",
    )


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["README.md", "papercut.safetensors"], ("papercut.safetensors",)),
        (["a.safetensors", "pytorch_lora_weights.safetensors"], ("pytorch_lora_weights.safetensors",)),
        (["a.safetensors", "b.safetensors"], ()),
        (["deep/a.safetensors"], ()),
        (["model.ckpt", "pytorch_model.bin"], ()),
        ([], ()),
    ],
)
def test_otherwise_it_is_the_only_file_or_the_one_that_diffusers_would_load(
    names: list[str], chosen: tuple[str, ...]
) -> None:
    assert choose_files(names) == chosen
