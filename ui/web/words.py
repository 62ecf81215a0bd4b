"""The words that people read: labels for what the catalog stores, and stored text made safe to show."""

import string
from datetime import UTC, datetime

KINDS = {
    "style": "Style LoRA",
    "acceleration": "Acceleration LoRA",
    "composition": "Composition",
    "base": "Base model",
    "other": "Other",
}
KIND_COLOURS = {"style": "violet", "acceleration": "orange", "composition": "green", "base": "blue", "other": "gray"}
KIND_ICONS = {
    "style": ":material/palette:",
    "acceleration": ":material/bolt:",
    "composition": ":material/layers:",
    "base": ":material/deployed_code:",
    "other": ":material/extension:",
}
STATE_COLOURS = {"draft": "yellow", "published": "green", "deprecated": "red", "archived": "gray"}
FAMILIES = {
    "sd15": "SD 1.5",
    "sd21": "SD 2.1",
    "sdxl": "SDXL",
    "sdxl-refiner": "SDXL refiner",
    "ssd1b": "SSD-1B",
    "vega": "Segmind Vega",
    "unknown": "unknown family",
}
RELATIONS = {
    "adapter_of": "made for the base",
    "distilled_from": "distilled from",
    "teacher": "teacher",
    "trained_on": "trained on",
    "composed_from": "composed from",
    "baked_into": "baked into",
    "extracted_from": "extracted from",
    "resized_from": "resized from",
    "converted_from": "converted from",
    "supersedes": "supersedes",
    "produced_by": "produced by",
}
SOLVERS = {
    "lcm": "LCM",
    "tcd": "TCD",
    "ddim": "DDIM",
    "dpm": "DPM-Solver",
    "dpm++": "DPM-Solver++",
    "euler": "Euler",
    "unipc": "UniPC",
}
_ESCAPES = str.maketrans({mark: "\\" + mark for mark in string.punctuation})


def plain(text: str) -> str:
    """Stored text for a place that reads Markdown: every mark escaped, on one line."""
    return " ".join(text.split()).translate(_ESCAPES)


def family_label(family: str) -> str:
    """How people write a family; an imported base's own name as it is."""
    return FAMILIES.get(family, family)


def strength_label(strength: float) -> str:
    """A strength without needless digits: 0.8, 1, -0.25."""
    return f"{strength:.4g}"


def size_label(size: int) -> str:
    """Bytes in the largest unit that leaves at least one: 512 B, 1.5 MB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def seconds_label(seconds: float) -> str:
    """A duration as people say it: 0.4 s, 12 s, 3 min, 2 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def time_label(moment: datetime) -> str:
    """A moment in UTC, to the minute; a moment without a zone is UTC already."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"
