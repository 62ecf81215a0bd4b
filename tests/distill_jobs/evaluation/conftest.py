"""Networks of the real classes with seeded random weights, saved as a person would have them on disk."""

from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    ViTImageProcessor,
)

from demo.training import networks
from sampling import Judge, load_judge

LABELS = ("size=large", "size=small", "shape=circle", "shape=square", "shape=cross")
SMALL_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge of two heads that was never trained, so that its readings differ between pictures."""
    folder = tmp_path_factory.mktemp("judge")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        labels = dict(enumerate(LABELS))
        config = ResNetConfig(**SMALL_RESNET, id2label=labels, label2id={name: i for i, name in labels.items()})
        ResNetForImageClassification(config).save_pretrained(folder)
    return load_judge(folder)


@pytest.fixture(scope="session")
def features_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision model with its processor."""
    folder = tmp_path_factory.mktemp("features")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ResNetModel(ResNetConfig(**SMALL_RESNET)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model with its processor."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = networks.write_tokenizer(folder / "tokenizer")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(2)
        vision = {**small, "image_size": 32, "patch_size": 8}
        CLIPModel(CLIPConfig(text_config=small | text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32), tokenizer).save_pretrained(folder)
    return folder
