"""What a computation may use, from what a face was told: a device, threads and memory."""

import re
from typing import TYPE_CHECKING

from workbench.errors import InvalidSize

if TYPE_CHECKING:
    from arithmetic import Resources

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def resources(device: str = "cpu", workers: int | None = None, memory: str | None = None) -> "Resources":
    """The device as torch names it, threads, and a size such as 512M for the modules in flight.

    Raises InvalidSize, or AlgebraError for what this machine does not have.
    """
    from arithmetic import DEFAULT_RESOURCES, Resources

    return Resources(
        device,
        DEFAULT_RESOURCES.workers if workers is None else workers,
        DEFAULT_RESOURCES.memory if memory is None else bytes_of(memory),
    )


def bytes_of(text: str) -> int:
    """512M, 2GiB or 1000000 in bytes; a thousand is 1024 here. Raises InvalidSize."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidSize(f"size {text!r}: expected a number and K, M, G or T, such as 512M")
    return int(float(match[1]) * UNITS[match[2].upper()])
