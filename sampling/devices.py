"""Where a base can paint on this machine, how much memory is free there, and in which precision it paints there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from sampling.errors import UnknownDevice

Kind = Literal["cuda", "mps", "cpu"]

AUTO = "auto"
"""The best that this machine has: CUDA, else Apple's Metal, else the CPU."""

PRECISIONS: dict[Kind, torch.dtype] = {"cuda": torch.float16, "mps": torch.float16, "cpu": torch.float32}
"""Half precision is emulated on a CPU."""

METAL, PROCESSOR = "Apple GPU", "CPU"

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much memory a container may take, which is less than its machine has."""


@dataclass(frozen=True)
class Device:
    """A place to paint: its name as torch has it, what it is called, and its bytes of memory."""

    name: str
    title: str
    free_bytes: int
    total_bytes: int

    @property
    def kind(self) -> Kind:
        """cuda, mps or cpu."""
        kind = self.name.partition(":")[0]
        return "cuda" if kind == "cuda" else "mps" if kind == "mps" else "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """The precision that a base is opened in there."""
        return PRECISIONS[self.kind]

    @property
    def attends_whole(self) -> bool:
        """Whether attention takes its whole matrix there, where others compute it in blocks."""
        return self.kind == "mps"


def devices() -> tuple[Device, ...]:
    """Everything that this machine has, the best first."""
    gpus = [_cuda(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    metal = [_mps()] if torch.backends.mps.is_available() else []
    return (*gpus, *metal, _cpu())


def find_device(name: str = AUTO) -> Device:
    """The device called `name` (cuda is the first GPU), with its memory as it is now. Raises UnknownDevice."""
    found = devices()
    if name == AUTO:
        return found[0]
    wanted = "cuda:0" if name == "cuda" else name
    for device in found:
        if device.name == wanted:
            return device
    there = ", ".join(device.name for device in found)
    raise UnknownDevice(f"device {name!r}: this machine has {there}. Name one of them, or {AUTO} for the first.")


def title_of(device: torch.device) -> str:
    """What a device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return METAL if device.type == "mps" else PROCESSOR


def empty_caches() -> None:
    """Give back to the devices what torch keeps of their memory without using it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _cuda(number: int) -> Device:
    free, total = torch.cuda.mem_get_info(number)
    kept = torch.cuda.memory_reserved(number) - torch.cuda.memory_allocated(number)
    return Device(f"cuda:{number}", torch.cuda.get_device_name(number), free + kept, total)


def _mps() -> Device:
    total = torch.mps.recommended_max_memory()
    return Device("mps", METAL, max(0, total - torch.mps.current_allocated_memory()), total)


def _cpu() -> Device:
    memory = psutil.virtual_memory()
    limit = container_limit(CGROUP)
    if limit is None or limit[1] >= memory.total:
        return Device("cpu", PROCESSOR, memory.available, memory.total)
    return Device("cpu", PROCESSOR, min(memory.available, limit[0]), limit[1])


def container_limit(folder: Path) -> tuple[int, int] | None:
    """(bytes free, bytes in all) of the control group in `folder`; None where it sets no limit."""
    try:
        total = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such files, or "max"
        return None
    return max(0, total - used + int(lines.get("inactive_file", 0))), total
