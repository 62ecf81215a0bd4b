import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import Described, Stated, normalise
from formats.metadata import FACTS, TRAINING
from formats.stated import MAX_LINE, MAX_WORDS

KOHYA = {
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_sd_model_name": "/home/ann/models/sd_xl_base_1.0.safetensors",
    "ss_new_sd_model_hash": "31E35C80FC4829D14F90153F4C74CD59C90B779F6AFE05A74CD6120B893F7E5B",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "32",
    "ss_network_alpha": "16.0",
    "ss_network_args": '{"conv_dim": "8", "conv_alpha": "4"}',
    "ss_network_dropout": "None",
    "ss_resolution": "(1024, 768)",
    "ss_learning_rate": "0.0001",
    "ss_unet_lr": "1e-4",
    "ss_text_encoder_lr": "None",
    "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)",
    "ss_lr_scheduler": "cosine",
    "ss_steps": "1500",
    "ss_max_train_steps": "3000",
    "ss_epoch": "5",
    "ss_num_epochs": "10",
    "ss_seed": "42",
    "ss_num_train_images": "200",
    "ss_num_reg_images": "0",
    "ss_zero_terminal_snr": "True",
    "ss_training_started_at": "1700000000.5",
    "ss_output_name": "papercut",
    "ss_sd_scripts_commit_hash": "b" * 40,
    "ss_tag_frequency": json.dumps({"10_a": {"papercut": 9, "cat ": 2}, "5_b": {"cat": 5, "dog": 1}}),
    "ss_dataset_dirs": json.dumps({"10_a": {"n_repeats": 10, "img_count": 20}}),
    "modelspec.title": "Papercut XL",
    "modelspec.description": "Cut\npaper.",
    "modelspec.author": "Ann",
    "modelspec.license": "openrail++",
    "modelspec.trigger_phrase": "papercut, paper style",
    "modelspec.tags": "paper, craft,paper",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "modelspec.prediction_type": "v",
    "modelspec.date": "2023-11-14T22:13:20",
    "modelspec.usage_hint": "0.8",
}


def test_a_kohya_files_facts_are_read_with_their_keys() -> None:
    said = normalise(KOHYA)
    assert said.title == Stated("Papercut XL", "modelspec.title")
    assert said.description == Stated("Cut\npaper.", "modelspec.description")
    assert said.author == Stated("Ann", "modelspec.author")
    assert said.license == Stated("openrail++", "modelspec.license")
    assert said.usage_hint == Stated("0.8", "modelspec.usage_hint")
    assert said.trigger_words == Stated(("papercut, paper style",), "modelspec.trigger_phrase")
    assert said.tags == Stated(("paper", "craft"), "modelspec.tags")
    assert said.base_model == Stated("sd_xl_base_1.0.safetensors", "ss_sd_model_name")
    assert said.base_sha256 == Stated(KOHYA["ss_new_sd_model_hash"].lower(), "ss_new_sd_model_hash")
    assert said.architecture == Stated("stable-diffusion-xl-v1-base/lora", "modelspec.architecture")
    assert said.prediction_type == Stated("v_prediction", "modelspec.prediction_type")
    assert (said.rank, said.alpha) == (Stated(32, "ss_network_dim"), Stated(16.0, "ss_network_alpha"))
    assert said.resolution == Stated((1024, 768), "ss_resolution")
    assert said.created == Stated("2023-11-14T22:13:20", "modelspec.date")


def test_a_kohya_files_training_is_read_and_what_it_leaves_open_is_left_out() -> None:
    training = normalise(KOHYA).training
    assert {name: fact.value for name, fact in training.items()} == {
        "conv_alpha": 4.0,
        "conv_rank": 8,
        "datasets": ("10_a",),
        "epochs": 5,
        "frequent_tags": ("papercut", "cat", "dog"),
        "images": 200,
        "learning_rate": 0.0001,
        "network": "networks.lora",
        "optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)",
        "output_name": "papercut",
        "planned_epochs": 10,
        "planned_steps": 3000,
        "scheduler": "cosine",
        "seed": 42,
        "started_at": "2023-11-14T22:13:20+00:00",
        "steps": 1500,
        "trainer": "sd-scripts",
        "trainer_version": "b" * 40,
        "unet_learning_rate": 0.0001,
        "zero_terminal_snr": True,
    }
    assert training["conv_rank"].source == "ss_network_args.conv_dim"


def test_onetrainers_configuration_is_read() -> None:
    config = {
        "base_model_name": "C:\\models\\sdxl.safetensors",
        "model_type": "STABLE_DIFFUSION_XL_10_BASE",
        "lora_rank": 16,
        "lora_alpha": 1.0,
        "learning_rate": 0.0003,
        "unet": {"learning_rate": None},
        "optimizer": {"optimizer": "ADAMW"},
        "resolution": "1024",
        "epochs": 100,
        "secrets": {"huggingface_token": "hf_" + "a" * 34},
    }
    said = normalise({"ot_branch": "master", "ot_revision": "abc", "ot_config": json.dumps(config)})
    assert said.base_model == Stated("sdxl.safetensors", "ot_config.base_model_name")
    assert (said.rank, said.alpha) == (Stated(16, "ot_config.lora_rank"), Stated(1.0, "ot_config.lora_alpha"))
    assert said.resolution == Stated((1024, 1024), "ot_config.resolution")
    assert said.training["optimizer"] == Stated("ADAMW", "ot_config.optimizer.optimizer")
    assert said.training["trainer"] == Stated("OneTrainer", "ot_revision")
    assert "unet_learning_rate" not in said.training


@pytest.mark.parametrize("prefix", ["", "unet.", "text_encoder."])
def test_diffusers_adapter_metadata_are_read(prefix: str) -> None:
    config = {f"{prefix}r": 8, f"{prefix}lora_alpha": 4, f"{prefix}base_model_name_or_path": "runwayml/sd15"}
    said = normalise({"lora_adapter_metadata": json.dumps(config)})
    key = f"lora_adapter_metadata.{prefix}"
    assert (said.rank, said.alpha) == (Stated(8, f"{key}r"), Stated(4.0, f"{key}lora_alpha"))
    assert said.base_model == Stated("runwayml/sd15", f"{key}base_model_name_or_path")


def test_ai_toolkits_metadata_are_read() -> None:
    said = normalise(
        {
            "format": "pt",
            "name": "my_lora",
            "ss_base_model_version": "sdxl_1.0",
            "ss_output_name": "my_lora",
            "software": '{"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.1.0"}',
            "training_info": '{"step": 2000, "epoch": 12}',
        }
    )
    assert said.architecture == Stated("sdxl_1.0", "ss_base_model_version")
    training = {name: fact.value for name, fact in said.training.items()}
    assert training == {
        "epochs": 12,
        "output_name": "my_lora",
        "steps": 2000,
        "trainer": "ai-toolkit",
        "trainer_version": "0.1.0",
    }


def test_nothing_said_is_nothing_described() -> None:
    assert normalise({}) == Described()
    silent = {key: value for key in KOHYA for value in ("None",)}
    assert normalise(silent) == Described()


SCALARS = [key for _, keys in {**FACTS, **TRAINING}.values() for key in keys if "." not in key or "modelspec" in key]
DOTTED = sorted({key for _, keys in {**FACTS, **TRAINING}.values() for key in keys} - set(SCALARS))


@pytest.mark.parametrize("key", sorted({*SCALARS, *DOTTED}))
def test_every_key_that_is_looked_for_is_found(key: str) -> None:
    """No key of the tables is dead: some value under it is said, and with this source."""
    found = set()
    for value in ("1", "True", "epsilon", "ab" * 32, "2023-11-14", '{"a": {"b": 1}}', "512x512"):
        metadata: dict[str, Any] = {key: value}
        if key in DOTTED:
            outer, *inner = re.split(r"(?<=metadata)\.|(?<!metadata)\.", key, maxsplit=1)
            entry: Any = {inner[0]: value}
            if inner[0].count(".") and outer != "lora_adapter_metadata":
                first, second = inner[0].split(".")
                entry = {first: {second: value}}
            metadata = {outer: json.dumps(entry)}
        said = normalise(metadata).to_json()
        found |= {fact["source"] for name, fact in said.items() if name != "training"}
        found |= {fact["source"] for fact in said["training"].values()}
    assert key in found


values = st.none() | st.text(max_size=40) | st.integers() | st.floats() | st.lists(st.text(max_size=5), max_size=3)
hostile = st.one_of(
    values, st.dictionaries(st.text(max_size=5), values, max_size=3).map(json.dumps), st.just("[" * 99_999)
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted({*SCALARS, "ot_config", "software", "ss_network_args"})), hostile))
def test_whatever_stands_under_a_known_key_is_read_or_left(metadata: dict[str, Any]) -> None:
    said = normalise(metadata).to_json()
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_no_secret_and_no_path_is_described() -> None:
    token = "hf_" + "a" * 34
    hostile = dict.fromkeys(SCALARS, f"/home/zorblatt/{token}/x, {token}")
    said = json.dumps(normalise(hostile).to_json())
    assert token not in said
    assert "zorblatt" not in said


def test_characters_that_are_no_text_are_left_out() -> None:
    said = normalise(
        {"modelspec.title": "T\x00i\x1btle\ud83d", "modelspec.description": "a\r\n\tb", "modelspec.author": "\x00"}
    )
    assert (said.title.value, said.description.value, said.author) == ("Title", "a\r\n\tb", None)


def test_texts_and_lists_are_bounded() -> None:
    said = normalise({"modelspec.title": "x" * 10**6, "modelspec.tags": ",".join(map(str, range(10**5)))})
    assert len(said.title.value) == MAX_LINE
    assert len(said.tags.value) == MAX_WORDS


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", (512, 512)), ("1024x768", (1024, 768)), ("(512, 640)", (512, 640)), ("[512,512]", (512, 512))],
)
def test_a_resolution_is_width_and_height(text: str, size: tuple[int, int]) -> None:
    assert normalise({"ss_resolution": text}).resolution.value == size


@pytest.mark.parametrize("text", ["0x0", "x", "512x", "1,2,3", "-5", "999999", "None"])
def test_what_is_no_resolution_is_none(text: str) -> None:
    assert normalise({"ss_resolution": text}).resolution is None
