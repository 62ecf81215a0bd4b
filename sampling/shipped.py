"""How the networks of a base are built: the documents that ship with us, or those of a diffusers folder. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from formats.predictions import EPSILON
from sampling.errors import BaseUnreadable

INDEX = "model_index.json"
FAMILIES = ("sd15", "sd21", "sdxl", "ssd1b", "vega")
"""Whose configurations ship with us, and whose tokenizers share CLIP's vocabulary."""

FILES = {
    "scheduler": "scheduler_config.json",
    "text_encoder": "config.json",
    "text_encoder_2": "config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "unet": "config.json",
    "vae": "config.json",
}
"""Component -> the document in its folder."""

TOKENIZERS = ("tokenizer", "tokenizer_2")
PIPELINE_SETTINGS = ("force_zeros_for_empty_prompt",)
SD21_OF_NOISE = 64
"""The latents' size of the SD-2 that predicts noise, stable-diffusion-2-1-base: 512 pixels, where the other has 768."""


@dataclass(frozen=True)
class Configuration:
    """One document a component, by the names of the folders; `pipeline` is what the pipeline itself is told."""

    family: str
    documents: Mapping[str, Mapping[str, Any]]

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The names of the tokenizers that the base needs."""
        return tuple(name for name in TOKENIZERS if name in self.documents)

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The names of the text encoders."""
        return tuple(name for name in ("text_encoder", "text_encoder_2") if name in self.documents)

    def changed(self, component: str, **values: Any) -> "Configuration":
        """The same with other values in one document."""
        document = {**self.documents.get(component, {}), **values}
        return replace(self, documents={**self.documents, component: document})

    def predicting(self, prediction_type: str, *, zero_snr: bool = False) -> "Configuration":
        """The same for a checkpoint that predicts `prediction_type`, its schedule ending in pure noise or not."""
        told = self.changed("scheduler", prediction_type=prediction_type, rescale_betas_zero_snr=zero_snr)
        if self.family == "sd21" and prediction_type == EPSILON:
            return told.changed("unet", sample_size=SD21_OF_NOISE)
        return told


@cache
def shipped_configuration(family: str) -> Configuration:
    """The configuration of a family whose files are known to everybody. Raises BaseUnreadable for any other."""
    if family not in FAMILIES:
        raise BaseUnreadable(
            f"{family}: no configuration ships for this family, only for {', '.join(FAMILIES)}. "
            "Import a base of it as a diffusers folder: tau import FOLDER --kind base"
        )
    text = resources.files("sampling").joinpath("configurations", f"{family}.json").read_text("utf-8")
    return Configuration(family, json.loads(text))


def configuration_of(folder: Path, family: str) -> Configuration:
    """The configuration of a diffusers folder. Raises BaseUnreadable for a document that is none."""
    documents: dict[str, Mapping[str, Any]] = {}
    for component, name in FILES.items():
        if (folder / component).is_dir():
            path = folder / component / name
            documents[component] = read_document(path) if path.is_file() or component not in TOKENIZERS else {}
    index = read_document(folder / INDEX)
    documents["pipeline"] = {key: index[key] for key in PIPELINE_SETTINGS if key in index}
    return Configuration(family, documents)


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises BaseUnreadable."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseUnreadable(f"{path}: not a configuration: {error!r}. Fetch the base again.") from error
    if not isinstance(found, dict):
        raise BaseUnreadable(f"{path}: expected a JSON object, got {type(found).__name__}. Fetch the base again.")
    return found
