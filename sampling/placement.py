"""How a base is put on a device with little memory: what stays there, how the VAE decodes, how many pictures at once.

The first way that fits is taken: everything on the device; networks brought one after another; tiles in the VAE, which
change a picture at the seams; single layers brought one after another, which is slow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from sampling.devices import Device
from sampling.errors import TooLittleMemory
from sampling.memory import SLICED_FROM, TILE, Footprint, spelled

Offload = Literal["none", "model", "sequential"]

MOST = 48
"""Pictures at once, however much memory there is."""

RESERVE = 512 << 20
"""Bytes that are left free: for the libraries' own use (0.2 GiB at SD-1.5's shape), and for what else runs there."""

SMALLEST = 64
WAYS: tuple[tuple[Offload, bool], ...] = (
    ("none", False),
    ("model", False),
    ("none", True),
    ("model", True),
    ("sequential", False),
    ("sequential", True),
)
"""(what is brought when it is needed, tiles in the VAE), in the order in which they are tried."""


@dataclass(frozen=True)
class Work:
    """What is to be painted: so many pictures of (height, width) pixels; guided ones take two rows each."""

    pictures: int
    size: tuple[int, int]
    guided: bool


@dataclass(frozen=True)
class Placement:
    """The way that fits, how many pictures are painted at once, and the bytes at its peak."""

    offload: Offload = "none"
    tiling: bool = False
    batch: int = MOST
    needed_bytes: int = field(default=0, compare=False)


def placement(footprint: Footprint, work: Work, device: Device, free_bytes: int) -> Placement:
    """The first way to do `work` in `free_bytes` on `device`. Raises TooLittleMemory, which says what would fit."""
    for offload, tiling in _ways(work, device):
        needs = _needs(footprint, work, device, offload, tiling)
        fitting = [batch for batch in range(1, min(work.pictures, MOST) + 1) if needs(batch) + RESERVE <= free_bytes]
        if fitting:
            return Placement(offload, tiling, fitting[-1], needs(fitting[-1]))
    raise TooLittleMemory(_refusal(footprint, work, device, free_bytes))


def largest_size(footprint: Footprint, work: Work, device: Device, free_bytes: int) -> int | None:
    """The side of the largest square picture that fits by itself, in any way; None where not even the smallest does."""
    side = max(work.size)
    while side >= SMALLEST:
        one = Work(1, (side, side), work.guided)
        if any(_needs(footprint, one, device, *way)(1) + RESERVE <= free_bytes for way in _ways(one, device)):
            return side
        side -= SMALLEST
    return None


def apply(pipe: Any, chosen: Placement, device: str | torch.device) -> None:
    """Put a newly opened pipeline on `device` in that way."""
    match chosen.offload:
        case "none":
            pipe.to(device)
            _WHOLE.add(pipe)
        case "model":
            pipe.enable_model_cpu_offload(device=device)
        case "sequential":
            pipe.enable_group_offload(torch.device(device), torch.device("cpu"), offload_type="leaf_level")
    adjust(pipe, chosen)


def adjust(pipe: Any, chosen: Placement) -> None:
    """Have a pipeline, wherever it is, decode in overlapping tiles or whole, and paint so many pictures at once."""
    _AT_ONCE[pipe] = chosen.batch
    pipe.vae.use_slicing = chosen.tiling or pipe.vae.config.sample_size >= SLICED_FROM
    if not chosen.tiling:
        pipe.vae.disable_tiling()
        return
    pipe.vae.enable_tiling()
    pipe.vae.tile_sample_min_size = TILE
    pipe.vae.tile_latent_min_size = TILE // pipe.vae_scale_factor


def device_of(pipe: Any) -> torch.device:
    """Where the pipeline computes, also while its networks wait elsewhere.

    The pipeline itself looks through all its networks for it, which costs more than a step of a small U-Net.
    """
    device: torch.device = next(pipe.unet.parameters()).device if pipe in _WHOLE else pipe._execution_device
    return device


def precision_of(network: nn.Module) -> torch.dtype:
    """What a network computes in: its first weights' precision; diffusers' own answer walks all modules before."""
    return next(weights.dtype for weights in network.parameters() if weights.is_floating_point())


def at_once(pipe: Any) -> int:
    """How many pictures the pipeline paints at once."""
    return _AT_ONCE.get(pipe, MOST)


def circumstances(pipe: Any) -> dict[str, str | int]:
    """What of the placement decides pixels: the device, the U-Net's precision, whether the VAE may decode in tiles."""
    return {
        "device": device_of(pipe).type,
        "precision": str(precision_of(pipe.unet)).removeprefix("torch."),
        "tiles": bool(pipe.vae.use_tiling),
    }


_AT_ONCE: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

_WHOLE: WeakSet[Any] = WeakSet()
"""The pipelines that are on their device as a whole."""


def _ways(work: Work, device: Device) -> Iterator[tuple[Offload, bool]]:
    """The ways that make a difference: a CPU and Apple's GPUs have one memory, small pictures are one tile."""
    for offload, tiling in WAYS:
        if (offload == "none" or device.kind == "cuda") and (not tiling or max(work.size) > TILE):
            yield offload, tiling


def _needs(footprint: Footprint, work: Work, device: Device, offload: Offload, tiling: bool) -> Callable[[int], int]:
    return lambda batch: footprint.painting(
        batch, work.size, guided=work.guided, offload=offload, tiled=tiling, attends_whole=device.attends_whole
    )


def _refusal(footprint: Footprint, work: Work, device: Device, free_bytes: int) -> str:
    least = min(_needs(footprint, work, device, *way)(1) for way in _ways(work, device)) + RESERVE
    side = largest_size(footprint, work, device, free_bytes)
    remedy = "not even the smallest picture fits there" if side is None else f"{side}x{side} pixels would fit"
    height, width = work.size
    return (
        f"a picture of {width}x{height} pixels takes at least {spelled(least)} on {device.name} ({device.title}), "
        f"where {spelled(free_bytes)} of {spelled(device.total_bytes)} are free; {remedy}. Close what else uses that "
        "memory, paint fewer pixels (--width, --height), or on another device (--device)."
    )
