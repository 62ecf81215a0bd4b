"""Where the files that ship with the shapes world lie inside the installed package."""

import json
import shutil
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
TUNING_FILE = ASSETS / "tuning.json"
BASE_FOLDER = "shapes-base"
VELOCITY_FOLDER = ASSETS / "shapes-v"
"""The U-Net and the scheduler of the base that predicts v; its other parts are the shipped base's."""
STYLE_FILES = {
    "outline": "outline-kohya.safetensors",
    "stripes": "stripes-peft",
    "glow": "glow-diffusers.safetensors",
}
"""Style -> file or folder under assets/styles: three layouts, as three other people would have saved them."""


def base_folder() -> Path:
    """The shipped base: a diffusers folder."""
    return ASSETS / BASE_FOLDER


def write_velocity_base(folder: Path) -> Path:
    """Write the base that predicts v, a diffusers folder; returns `folder`. One that is there already is left alone.

    It is the shipped base with another U-Net and another scheduler.
    """
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(base_folder(), partial, ignore=shutil.ignore_patterns("unet", "scheduler", "training"))
        shutil.copytree(VELOCITY_FOLDER, partial, dirs_exist_ok=True)
        partial.rename(folder)
    return folder


def style_files() -> dict[str, Path]:
    """Style -> its shipped vector: a kohya file, a PEFT folder, a diffusers file."""
    return {style: ASSETS / "styles" / name for style, name in STYLE_FILES.items()}


def tuning() -> dict[str, Any]:
    """What `make reproduce` found best: the distillation's settings, strengths a style, baselines' settings a cost."""
    found: dict[str, Any] = json.loads(TUNING_FILE.read_text())
    return found
