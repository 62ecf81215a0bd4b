"""What this machine has for a job; no torch, so that a supervisor can ask."""

import os
from pathlib import Path

import psutil

from registry.jobs import Offers

NVIDIA = Path("/proc/driver/nvidia/gpus")
"""Where the driver lists its GPUs, a folder each."""


def offers_of(device: str | None = None) -> Offers:
    """What a job would find here: GPUs, and the machine's memory where there are none.

    `device` is the job's CUDA_VISIBLE_DEVICES; None: this process's own, or all that the driver lists.
    """
    gpus = gpus_in_sight(os.environ.get("CUDA_VISIBLE_DEVICES") if device is None else device)
    return Offers(gpus, None if gpus else psutil.virtual_memory().total)


def gpus_in_sight(visible: str | None) -> int:
    """How many GPUs a value of CUDA_VISIBLE_DEVICES shows, none for -1; unset shows all."""
    if visible is None:
        return sum(1 for _ in NVIDIA.iterdir()) if NVIDIA.is_dir() else 0
    return sum(1 for name in visible.split(",") if name.strip() not in ("", "-1"))
