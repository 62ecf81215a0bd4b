"""One row of pictures from fixed noise, repainted as a training goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from distill_jobs.training.precision import showing
from distill_jobs.training.trainer import Trainer
from sampling import paint

STRIP = "strip.png"
STRIPS = "strips"
"""The folder of all strips, each named by its step."""


def painter(
    pipe: Any, trainer: Trainer, folder: Path, solver: str, *, steps: int, guidance: float
) -> Callable[[], Path]:
    """A function that repaints folder/strip.png with the weights that `trainer` would export now.

    A copy of each stays in folder/strips.
    """
    settings = trainer.settings

    def repaint() -> Path:
        with trainer.showing_exported(), showing(pipe, settings):
            images = _paint(pipe, settings.sample_prompts, solver, steps=steps, guidance=guidance, seed=settings.seed)
        path = _save_row(images, folder / STRIP)
        kept = folder / STRIPS / f"{trainer.step:08d}.png"
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, kept)
        return path

    return repaint


def _paint(
    pipe: Any, prompts: tuple[str, ...], solver: str, *, steps: int, guidance: float, seed: int
) -> list[Image.Image]:
    seeds = [seed + i for i in range(len(prompts))]
    return paint(pipe, prompts, solver=solver, steps=steps, guidance=guidance, seeds=seeds).images


def _save_row(images: list[Image.Image], path: Path) -> Path:
    width, height = images[0].size
    row = Image.new("RGB", (width * len(images), height))
    for i, image in enumerate(images):
        row.paste(image, (i * width, 0))
    partial = path.with_name(f"partial-{path.name}")
    row.save(partial)
    partial.replace(path)
    return path
