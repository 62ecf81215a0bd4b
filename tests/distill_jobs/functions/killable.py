"""A distillation in a process of its own, which tells each step to whoever means to kill it."""

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def distil_telling(base: str, data: str, settings: dict[str, Any], folder: str, steps: Connection) -> None:
    """Distil, resuming from `folder`; sends every step's number after it is done."""
    from distill_jobs import LcdLoraSettings, distil, read_dataset
    from sampling import load_pipeline

    distil(
        load_pipeline(Path(base)),
        read_dataset(Path(data)),
        LcdLoraSettings(**settings),
        folder=Path(folder),
        report=lambda progress: steps.send(progress.step),
        cancelled=lambda: None,
    )
