"""Vectors of the registry that this process opened before: what does not change need not be read again."""

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arithmetic import Vector
    from formats import Architecture

MOST_KEPT = 32

_KEPT: "OrderedDict[tuple[str | int, ...], Vector]" = OrderedDict()


def opened_vector(path: Path, table: "Architecture", *, name: str, sha256: str) -> "Vector":
    """The file at `path` looked up in `table`; opened once, as long as neither changes."""
    from arithmetic import open_vector

    status = path.stat()
    key = (str(path), name, sha256, status.st_ino, status.st_size, status.st_mtime_ns)
    vector = _KEPT.pop(key, None)
    if vector is None or vector.architecture != table:
        vector = open_vector(path, table, name=name, sha256=sha256)
    _KEPT[key] = vector
    while len(_KEPT) > MOST_KEPT:
        _KEPT.popitem(last=False)
    return vector
