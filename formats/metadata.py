"""What the metadata embedded in a weight file say of it, in one vocabulary, each fact with its key.

Read are modelspec.* (Stability AI), ss_* (kohya's scripts and whoever imitates them), ot_config (OneTrainer),
lora_adapter_metadata (diffusers), and software, training_info, name and version (ai-toolkit). The metadata themselves
are kept verbatim elsewhere; what is said here has been through `scrub`, so that it can be shown and passed on. These
are claims: shapes weigh more than words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from formats.architecture import COMPONENTS
from formats.header import Header
from formats.scrubbing import scrub
from formats.stated import (
    Reader,
    Stated,
    count,
    first,
    flag,
    flatten,
    folders,
    frequent,
    line,
    moment,
    number,
    phrase,
    prediction,
    sha256,
    size,
    text,
    whole,
    words,
)

__all__ = ["Described", "Stated", "normalise", "scrub"]

Facts = Mapping[str, tuple[Reader[Any], tuple[str, ...]]]
"""Fact -> how it is read, and the keys that say it, the most trusted first."""


def _of_adapter(entry: str) -> tuple[str, ...]:
    """The keys of one entry of diffusers' configurations, which may have one a component."""
    prefixes = ("", *(f"{component}." for component in COMPONENTS))
    return tuple(f"lora_adapter_metadata.{prefix}{entry}" for prefix in prefixes)


FACTS: Facts = {
    "title": (line, ("modelspec.title", "title")),
    "description": (text, ("modelspec.description", "description")),
    "author": (line, ("modelspec.author", "author")),
    "license": (line, ("modelspec.license", "license")),
    "usage_hint": (text, ("modelspec.usage_hint",)),
    "trigger_words": (phrase, ("modelspec.trigger_phrase", "trigger_words", "trigger_word")),
    "tags": (words, ("modelspec.tags", "tags")),
    "base_model": (
        line,
        (*_of_adapter("base_model_name_or_path"), "ss_sd_model_name", "ot_config.base_model_name", "base_model"),
    ),
    "base_sha256": (sha256, ("ss_new_sd_model_hash",)),
    "architecture": (line, ("modelspec.architecture", "ss_base_model_version", "ot_config.model_type")),
    "prediction_type": (prediction, ("modelspec.prediction_type",)),
    "rank": (count, ("ss_network_dim", *_of_adapter("r"), "ot_config.lora_rank")),
    "alpha": (number, ("ss_network_alpha", *_of_adapter("lora_alpha"), "ot_config.lora_alpha")),
    "resolution": (size, ("modelspec.resolution", "ss_resolution", "ot_config.resolution")),
    "created": (moment, ("modelspec.date", "ss_training_finished_at")),
}

TRAINING: Facts = {
    "batch_size": (count, ("ss_batch_size_per_device", "ss_total_batch_size", "ot_config.batch_size")),
    "clip_skip": (whole, ("ss_clip_skip",)),
    "conv_alpha": (number, ("ss_network_args.conv_alpha",)),
    "conv_rank": (count, ("ss_network_args.conv_dim",)),
    "datasets": (folders, ("ss_dataset_dirs",)),
    "dropout": (number, ("ss_network_dropout", "ot_config.dropout_probability")),
    "epochs": (count, ("ss_epoch", "training_info.epoch")),
    "finished_at": (moment, ("ss_training_finished_at",)),
    "frequent_tags": (frequent, ("ss_tag_frequency",)),
    "gradient_accumulation": (count, ("ss_gradient_accumulation_steps", "ot_config.gradient_accumulation_steps")),
    "images": (count, ("ss_num_train_images",)),
    "learning_rate": (number, ("ss_learning_rate", "ot_config.learning_rate")),
    "loss": (line, ("ss_loss_type", "ot_config.loss_weight_fn")),
    "min_snr_gamma": (number, ("ss_min_snr_gamma",)),
    "mixed_precision": (line, ("ss_mixed_precision", "ot_config.train_dtype")),
    "network": (line, ("ss_network_module", "ot_config.peft_type", "ot_config.training_method")),
    "noise_offset": (number, ("ss_noise_offset", "ot_config.offset_noise_weight")),
    "optimizer": (line, ("ss_optimizer", "ot_config.optimizer.optimizer")),
    "output_name": (line, ("ss_output_name", "name")),
    "planned_epochs": (count, ("ss_num_epochs", "ot_config.epochs")),
    "planned_steps": (count, ("ss_max_train_steps",)),
    "regularisation_images": (count, ("ss_num_reg_images",)),
    "scheduler": (line, ("ss_lr_scheduler", "ot_config.learning_rate_scheduler")),
    "seed": (whole, ("ss_seed",)),
    "started_at": (moment, ("ss_training_started_at",)),
    "steps": (count, ("ss_steps", "training_info.step")),
    "text_encoder_learning_rate": (number, ("ss_text_encoder_lr", "ot_config.text_encoder.learning_rate")),
    "trainer": (line, ("software.name",)),
    "trainer_version": (
        line,
        ("software.version", "ot_revision", "ss_sd_scripts_commit_hash", "modelspec.implementation_version"),
    ),
    "unet_learning_rate": (number, ("ss_unet_lr", "ot_config.unet.learning_rate")),
    "warmup_steps": (whole, ("ss_lr_warmup_steps", "ot_config.learning_rate_warmup_steps")),
    "zero_terminal_snr": (flag, ("ss_zero_terminal_snr", "ot_config.rescale_noise_scheduler_to_zero_terminal_snr")),
}

TRAINERS = (("ot_revision", "OneTrainer"), ("ss_sd_scripts_commit_hash", "sd-scripts"))
"""Keys that one program alone writes."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a file says of itself; None where it says nothing. `resolution` is (width, height), `created` ISO-8601.

    `base_model` is what it was trained on, `base_sha256` that file's digest, `architecture` the family as declared.
    """

    title: Stated[str] | None = None
    description: Stated[str] | None = None
    author: Stated[str] | None = None
    license: Stated[str] | None = None
    usage_hint: Stated[str] | None = None
    trigger_words: Stated[tuple[str, ...]] | None = None
    tags: Stated[tuple[str, ...]] | None = None
    base_model: Stated[str] | None = None
    base_sha256: Stated[str] | None = None
    architecture: Stated[str] | None = None
    prediction_type: Stated[str] | None = None
    rank: Stated[int] | None = None
    alpha: Stated[float] | None = None
    resolution: Stated[tuple[int, int]] | None = None
    created: Stated[str] | None = None
    training: Mapping[str, Stated[Any]] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """What is said, as {fact: {"value", "source"}}; the training facts the same below `training`."""
        facts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "training"}
        said: dict[str, Any] = {name: _json(fact) for name, fact in facts.items() if fact is not None}
        return said | {"training": {name: _json(fact) for name, fact in self.training.items()}}


def normalise(metadata: Mapping[str, object] | Header) -> Described:
    """What a header's metadata say, each fact from the first key that says it."""
    flat = flatten(metadata.metadata if isinstance(metadata, Header) else metadata)
    facts: dict[str, Any] = {name: first(flat, keys, read) for name, (read, keys) in FACTS.items()}
    return Described(**facts, training=_training(flat))


def _training(flat: Mapping[str, object]) -> dict[str, Stated[Any]]:
    found = {name: first(flat, keys, read) for name, (read, keys) in TRAINING.items()}
    if found["trainer"] is None:
        found["trainer"] = next((Stated(name, key) for key, name in TRAINERS if line(flat.get(key))), None)
    return {name: fact for name, fact in found.items() if fact is not None}


def _json(fact: Stated[Any]) -> dict[str, Any]:
    value = list(fact.value) if isinstance(fact.value, tuple) else fact.value
    return {"value": value, "source": fact.source}
