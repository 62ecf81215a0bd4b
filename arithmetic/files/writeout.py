"""Appends to a file while another thread brings to the disk what was appended before: the last wait is short."""

import os
import threading

STRIDE = 64 << 20
"""Bytes between two starts of bringing data to the disk."""


class WriteOut:
    """Writes at the end of a descriptor; every `STRIDE` bytes a background thread syncs what is there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._since = 0
        self._thread: threading.Thread | None = None

    def write(self, raw: memoryview) -> None:
        """Append all of `raw`."""
        while raw.nbytes:
            done = os.write(self._descriptor, raw)
            raw = raw[done:]
            self._since += done
        if self._since >= STRIDE and (self._thread is None or not self._thread.is_alive()):
            self._since = 0
            self._thread = threading.Thread(target=_sync, args=(self._descriptor,), daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait for the background thread."""
        if self._thread is not None:
            self._thread.join()


def _sync(descriptor: int) -> None:
    """A failure shows again at the last sync, whose answer counts."""
    try:
        os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)
    except OSError:
        return
