"""The files of a diffusers folder that hold no weights of its modules: which are copied, which would be stale."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from arithmetic.weights import Weights

WEIGHT_SUFFIXES = frozenset(
    {".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".pb", ".gguf"}
)
INDEX = ".index."


@dataclass(frozen=True)
class OtherFiles:
    """Names within the folder. `left_out`: hidden folders, and the same weights in another form, unbaked."""

    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    indexes: tuple[str, ...]
    """The base's own indexes of shards."""


def other_files(base: Weights, changed_groups: Collection[str]) -> OtherFiles:
    """Sort everything in the base's folder beside its weight files; empty for a base in one file.

    Args:
        base: the folder.
        changed_groups: the folders within it whose weights change; '.' among them is the base's own.
    """
    if not base.path.is_dir():
        return OtherFiles((), (), ())
    own = {file.name for file in base.files}
    groups = {file.group for file in base.files}
    stale = {*changed_groups, "."} if changed_groups else set()
    copied: list[str] = []
    left_out: list[str] = []
    indexes: list[str] = []
    for name in sorted(files_within(base.path)):
        path = PurePosixPath(name)
        is_index = INDEX in path.name and path.suffix == ".json" and str(path.parent) in groups
        if name.endswith("/"):
            left_out.append(name)
        elif is_index and path.name.split(INDEX)[0].endswith(".safetensors"):
            indexes.append(name)
        elif name not in own:
            is_stale = str(path.parent) in stale and (path.suffix in WEIGHT_SUFFIXES or is_index)
            (left_out if is_stale else copied).append(name)
    return OtherFiles(tuple(copied), tuple(left_out), tuple(indexes))


def files_within(folder: Path) -> Iterator[str]:
    """Every file below `folder` with `/`, and each hidden folder as one name that ends in `/`."""
    for place, folders, files in os.walk(folder, followlinks=True):
        within = Path(place).relative_to(folder)
        for hidden in [name for name in folders if name.startswith(".")]:
            folders.remove(hidden)
            yield f"{(within / hidden).as_posix()}/"
        yield from ((within / name).as_posix() for name in files)
