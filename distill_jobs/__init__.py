"""Training of vectors on one frozen base, and the workers that run jobs.

Nothing is imported before it is used, so that a supervisor loads no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "CaptionNoise": "kinds.style",
    "CorruptPictures": "errors",
    "Dataset": "data.dataset",
    "DatasetError": "errors",
    "DistillError": "errors",
    "Diverged": "errors",
    "EvaluationRefused": "errors",
    "EvaluationSettings": "evaluation.settings",
    "Executor": "execution.executors",
    "Interrupted": "errors",
    "JobContext": "context",
    "LcdLoraSettings": "kinds.lcd_lora",
    "LcdSettings": "kinds.lcd",
    "LcfLoraSettings": "kinds.lcf",
    "LcfSettings": "kinds.lcf",
    "LocalExecutor": "execution.executors",
    "Pace": "execution.worker",
    "Painter": "execution.painter",
    "PainterPace": "execution.painters",
    "Painters": "execution.painters",
    "Progress": "progress",
    "RayExecutor": "execution.ray_jobs",
    "Reading": "data.reading",
    "StyleSettings": "kinds.style",
    "TrainingSettings": "training.settings",
    "Worker": "execution.worker",
    "distil": "kinds.lcd_lora",
    "distil_base": "kinds.lcd",
    "read_dataset": "data.dataset",
    "train_style": "kinds.style",
    "tune_base": "kinds.lcf",
    "tune_vector": "kinds.lcf",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'distill_jobs' has no attribute {name!r}")
    return getattr(import_module(f"distill_jobs.{_MODULES[name]}"), name)
