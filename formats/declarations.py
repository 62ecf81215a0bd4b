"""What a file says of its base in words: in its metadata, beside it, or in its name. Shapes weigh more."""

from collections.abc import Mapping
from typing import Any

Beginnings = tuple[tuple[str, str], ...]

DECLARATIONS: Mapping[str, Beginnings] = {
    "ss_base_model_version": (
        ("sd_v1", "sd15"),
        ("sd_1", "sd15"),
        ("sd1", "sd15"),
        ("sd_v2", "sd21"),
        ("sd_2", "sd21"),
        ("sd2", "sd21"),
        ("sdxl_refiner", "sdxl-refiner"),
        ("sdxl", "sdxl"),
    ),
    "modelspec.architecture": (
        ("stable-diffusion-v1", "sd15"),
        ("stable-diffusion-v2", "sd21"),
        ("stable-diffusion-xl-v1-refiner", "sdxl-refiner"),
        ("stable-diffusion-xl", "sdxl"),
    ),
    "ss_v2": (("true", "sd21"),),
}
"""Metadata key -> beginnings of its value -> family; the first that fits counts."""

FILE_NAMES: Mapping[str, tuple[str, ...]] = {
    "sdxl-refiner": ("refiner",),
    "ssd1b": ("ssd1b", "ssd-1b", "ssd_1b"),
    "vega": ("vega",),
    "sdxl": ("sdxl", "sd_xl", "sd-xl", "_xl", "-xl"),
    "sd21": ("sd21", "sd2.1", "sd_2", "sd-2", "diffusion-2", "v2-1", "v2.1"),
    "sd15": ("sd15", "sd1.5", "sd_1", "sd-1", "diffusion-v1", "v1-5", "v1.5"),
}
"""Family -> what the names of its files contain; in this order, and no letter counts twice: `ssd-1b` is no `sd-1`."""

BASE_MODEL = "base_model_name_or_path"
"""Where adapter_config.json names the base; what stands before the last slash may be a path of somebody's machine."""

PREDICTIONS: Mapping[str, Beginnings] = {
    "modelspec.prediction_type": (("v", "v_prediction"), ("eps", "epsilon")),
    "modelspec.architecture": (("stable-diffusion-v2-768-v", "v_prediction"), ("stable-diffusion-v2-512", "epsilon")),
    "ss_base_model_version": (("sd_v2_v", "v_prediction"), ("sd_v2_768", "v_prediction"), ("sd_v2", "epsilon")),
    "ss_v_parameterization": (("true", "v_prediction"), ("false", "epsilon")),
}
"""Metadata key -> beginnings of its value -> prediction type."""


def declared(metadata: Mapping[str, str], words: Mapping[str, Beginnings]) -> dict[str, str]:
    """Metadata key -> what its value declares, of the keys that declare anything."""
    found = {}
    for key, beginnings in words.items():
        value = metadata.get(key, "").strip().lower()
        meanings = (meaning for beginning, meaning in beginnings if value.startswith(beginning))
        meaning = next(meanings, None)
        if meaning is not None:
            found[key] = meaning
    return found


def statements(metadata: Mapping[str, str], config: Mapping[str, Any] | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Key -> the family that it speaks of, in the header and in adapter_config.json; and a sentence for each."""
    found = declared(metadata, DECLARATIONS)
    words = tuple(f"{key} is {metadata[key]!r}" for key in found)
    said = (config or {}).get(BASE_MODEL)
    base = said.replace("\\", "/").rstrip("/").rpartition("/")[2] if isinstance(said, str) else ""
    family = named(base)
    return (found, words) if family is None else ({**found, BASE_MODEL: family}, (*words, f"{BASE_MODEL} is {base!r}"))


def named(stem: str) -> str | None:
    """The one family that a file name speaks of; None when it speaks of none or of several."""
    text, families = stem.lower(), []
    for family, words in FILE_NAMES.items():
        word = next((word for word in words if word in text), None)
        if word is not None:
            families.append(family)
            text = text.replace(word, "/")
    return families[0] if families and (len(families) == 1 or families[1:] == ["sdxl"]) else None
