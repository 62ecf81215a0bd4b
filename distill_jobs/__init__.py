"""Training of vectors on one frozen base, and the workers that run jobs.

Nothing is imported before it is used, so that a supervisor loads no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "CaptionNoise": "style",
    "CorruptPictures": "errors",
    "Dataset": "dataset",
    "DatasetError": "errors",
    "DistillError": "errors",
    "Diverged": "errors",
    "Executor": "executors",
    "Interrupted": "errors",
    "JobContext": "context",
    "LcdLoraSettings": "lcd_lora",
    "LocalExecutor": "executors",
    "Pace": "worker",
    "Progress": "progress",
    "StyleSettings": "style",
    "TrainingSettings": "settings",
    "Worker": "worker",
    "distil": "lcd_lora",
    "read_dataset": "dataset",
    "train_style": "style",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'distill_jobs' has no attribute {name!r}")
    return getattr(import_module(f"distill_jobs.{_MODULES[name]}"), name)
