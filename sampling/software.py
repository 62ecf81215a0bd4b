"""What decides a picture's pixels beside its settings and weights: software, threads, kernels. Imports no torch."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

DECIDING = ("torch", "diffusers", "transformers", "peft")
"""Another version of one of them may paint other pixels."""


@cache
def software() -> dict[str, str]:
    """Package -> installed version, of all that takes part in painting."""
    return {name: version(name) for name in DECIDING}


def machine() -> dict[str, str | int]:
    """The processor, the kernels that torch takes for it, and how many threads share one sum."""
    import torch

    return {
        "processor": platform.machine(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, so many threads share one sum: another number may give other last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
