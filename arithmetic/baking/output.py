"""A file that is written at many places at once and sent to the disk meanwhile."""

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

COPY_BYTES = 8 << 20
"""What is read at once where the system cannot copy between files by itself."""

SYNC_FILE_RANGE_WRITE = 2
NO_SYSTEM_COPY = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}


class OutputFile:
    """An open file of known size; its methods may be called from several threads for different places."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, start: int, content: bytes | memoryview) -> int:
        """Put `content` at `start`; the position behind it."""
        with memoryview(content) as whole:
            done = 0
            while done < len(whole):
                done += os.pwrite(self._descriptor, whole[done:], start + done)
        return start + done

    def write_tensor(self, start: int, tensor: Tensor) -> int:
        """Put the elements of a contiguous tensor at `start`; the position behind them."""
        return self.write(start, tensor_bytes(tensor))

    def copy(self, start: int, source: int, first: int, count: int) -> None:
        """Put `count` bytes of the open file `source` from `first` on at `start`, through the system where it can."""
        done = _copied_by_system(source, first, self._descriptor, start, count)
        while done < count:
            chunk = os.pread(source, min(COPY_BYTES, count - done), first + done)
            if not chunk:
                raise OSError(errno.EIO, f"ended {count - done} bytes early: it was cut while it was read")
            done = self.write(start + done, chunk) - start

    def send(self, start: int, count: int) -> None:
        """Begin to write a range to the disk without waiting, so that little is left for `sync`."""
        if _SYNC_FILE_RANGE is not None:
            _SYNC_FILE_RANGE(
                self._descriptor, ctypes.c_int64(start), ctypes.c_int64(count), ctypes.c_uint(SYNC_FILE_RANGE_WRITE)
            )


@contextlib.contextmanager
def output_file(path: Path, size: int) -> Iterator[OutputFile]:
    """Create `path` with `size` bytes to be filled in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.truncate(size)
        yield OutputFile(file.fileno())


def copy_file(source: Path, target: Path) -> None:
    """The bytes of `source`, and nothing else of it, as the new file `target`."""
    with source.open("rb") as read, output_file(target, size := os.fstat(read.fileno()).st_size) as output:
        output.copy(0, read.fileno(), 0, size)
        output.send(0, size)


def sync_files(folder: Path) -> None:
    """Bring every file below `folder` to the disk."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, without a copy."""
    content: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data
    return content


def _copied_by_system(source: int, first: int, target: int, start: int, count: int) -> int:
    """How many bytes the system copied by itself: all of them, or none where it cannot."""
    done = 0
    if sys.platform != "linux":
        return done
    while done < count:
        try:
            copied = os.copy_file_range(source, target, count - done, first + done, start + done)
        except OSError as error:
            if error.errno not in NO_SYSTEM_COPY:
                raise
            return done
        if copied == 0:
            return done
        done += copied
    return done


_SYNC_FILE_RANGE = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None
