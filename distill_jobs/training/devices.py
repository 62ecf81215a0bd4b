"""Where a training computes."""

import torch

from distill_jobs.errors import UnavailableCompute
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.processes import company


def device_of(settings: ComputeSettings) -> torch.device:
    """The device of this process: the one named, or among several processes on CUDA the one of its rank.

    Raises UnavailableCompute when the machine has no such device.
    """
    device = torch.device(settings.device)
    if device.type == "cuda" and company().size > 1:
        device = torch.device("cuda", company().rank)
    _require(device)
    return device


def _require(device: torch.device) -> None:
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UnavailableCompute(f"device {device}: this machine has {count} CUDA devices; use another, or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UnavailableCompute("device mps: this machine has no Metal device; use cpu")
