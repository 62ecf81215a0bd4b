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


def train_telling(kind: str, given: dict[str, str], settings: dict[str, Any], folder: str, steps: Connection) -> None:
    """Train one of the consistency kinds on base, data (and acceleration), as `distil_telling` does."""
    from arithmetic import open_vector
    from distill_jobs import (
        LcdSettings,
        LcfLoraSettings,
        LcfSettings,
        distil_base,
        read_dataset,
        tune_base,
        tune_vector,
    )
    from formats import architecture_of_folder
    from sampling import load_pipeline

    base, how = Path(given["base"]), {"folder": Path(folder), "cancelled": lambda: None}
    pipe, dataset = load_pipeline(base), read_dataset(Path(given["data"]))

    def report(progress: Any) -> None:
        steps.send(progress.step)

    if kind == "lcd":
        distil_base(pipe, base, dataset, LcdSettings(**settings), report=report, **how)
    elif kind == "lcf":
        tune_base(pipe, base, dataset, LcfSettings(**settings), report=report, **how)
    else:
        vector = open_vector(Path(given["acceleration"]), architecture_of_folder(base, "small"), name="fast")
        tune_vector(pipe, vector, dataset, LcfLoraSettings(**settings), report=report, **how)
