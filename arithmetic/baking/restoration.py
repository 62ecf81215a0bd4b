"""Takes a sum out of a baked base again: with its residual the base is back, bit for bit."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from blake3 import blake3
from torch import Tensor

from arithmetic.baking.bits import from_digits
from arithmetic.baking.folder import other_files
from arithmetic.baking.output import OutputFile, copy_file, output_file, sync_files, tensor_bytes
from arithmetic.baking.residual import Residual, open_residual
from arithmetic.baking.sums import PartSum, part_sums
from arithmetic.baking.writing import predicted
from arithmetic.errors import CertificateMismatch, NotRestored, OutputConflict
from arithmetic.files.staging import publish, staging_folder
from arithmetic.progress import Notify, Progress, watcher
from arithmetic.resources import DEFAULT_RESOURCES, Resources, done_in_order
from arithmetic.sources.source import Source
from arithmetic.weights import WeightFile, Weights
from arithmetic.weights.mapped import TORCH_DTYPES
from formats import Header, TensorSpec, file_sha256, read_header


def unbake(
    baked: Weights,
    source: Source | None,
    residual: Path | str,
    path: Path | str,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress | None = None,
    cancelled: Callable[[], object] | None = None,
) -> dict[str, str]:
    """Write to `path` the base that `baked` was made from, and prove that it is, bit for bit.

    Files of a folder that hold no weights are the baked folder's; what the bake left out is not restored.

    Args:
        baked: the output of `bake`.
        source: the dW that was baked in.
        residual: what the bake wrote for this.
        path: a folder that does not exist yet, or a file.
        resources: threads.
        progress: called with the phase (restoring), tensors done, tensors.
        cancelled: asked between tensors; a true answer stops the work.

    Returns:
        The SHA-256 of each weight file of the base, by its name within it.

    Raises:
        CertificateMismatch: the residual belongs to another bake.
        NotRestored: a tensor that is not the base's: the sum is another, or computed too differently here.
        OutputConflict: `path` is an input, or a folder that exists.
    """
    path, kept = Path(path), open_residual(residual)
    _check(baked, kept, path)
    notify = watcher(progress, cancelled, "tensors")("restoring")
    with staging_folder(path) as stage:
        output = stage / "output"
        restored: dict[str, str] = {}
        for name in kept.base:
            file = _Restored(baked, source, kept, name, output / name)
            file.write(resources, notify)
            restored[name] = file_sha256(output / name)
            if restored[name] != kept.base[name][0]:
                raise NotRestored(f"{name}: is not the base's, though its tensors are. Keep the base instead.")
        _write_others(baked, kept, output)
        sync_files(output)
        publish(_moves(output, path, baked, kept))
    return restored


def _check(baked: Weights, kept: Residual, path: Path) -> None:
    if dict(baked.digests) != dict(kept.baked):
        raise CertificateMismatch(
            f"{kept.path.name}: belongs to other bytes than {baked.name}. Name the residual that was written with it."
        )
    inputs = {baked.path.resolve(), kept.path.resolve(), *(file.path.resolve() for file in baked.files)}
    if inputs & {path.resolve(), *path.resolve().parents}:
        raise OutputConflict(f"{path}: is an input, or lies within one. Write somewhere else.")
    if path.is_dir() or (baked.is_folder and path.exists()):
        raise OutputConflict(f"{path}: exists. A folder is never replaced: remove it or write somewhere else.")


def _write_others(baked: Weights, kept: Residual, output: Path) -> None:
    """The indexes of shards that the base had, and the baked folder's files that hold no weights."""
    for name in kept.indexes:
        (output / name).write_bytes(kept.content(name))
    for name in other_files(baked, ()).copied:
        copy_file(baked.path / name, output / name)


def _moves(output: Path, path: Path, baked: Weights, kept: Residual) -> dict[Path, Path]:
    if baked.is_folder:
        return {output: path}
    if len(kept.base) == 1:
        return {output / name: path for name in kept.base}
    return {output / name: path.with_name(name) for name in (*kept.base, *kept.indexes)}


class _Restored:
    """One weight file of the base: its header is known, its tensors are the baked ones or found again from them."""

    def __init__(self, baked: Weights, source: Source | None, kept: Residual, name: str, path: Path) -> None:
        self.baked, self.source, self.kept, self.path = baked, source, kept, path
        self.group = name.rpartition("/")[0] or "."
        self.header = self._begin(kept.content(name), kept.base[name][1])
        self.holders = {key: file for file in baked.files if file.group == self.group for key in file.header.tensors}

    def write(self, resources: Resources, notify: Notify) -> None:
        """Fill the file in. Raises NotRestored for a tensor that does not come out as it was."""
        with self.path.open("r+b") as file:
            output = OutputFile(file.fileno())
            tasks = [partial(self._tensor, output, key, spec) for key, spec in self.header.tensors.items()]
            with closing(done_in_order(tasks, resources)) as results:
                for done, _ in enumerate(results, start=1):
                    notify(done, len(tasks))

    def _begin(self, head: bytes, size: int) -> Header:
        """Create the file with its header, and a hole where its tensors will be."""
        with output_file(self.path, size) as output:
            output.write(0, head)
        return read_header(self.path)

    def _tensor(self, output: OutputFile, key: str, spec: TensorSpec) -> None:
        name, start = f"{self.group}/{key}", self.header.data_start + spec.start
        holder = self.holders.get(key)
        if holder is None:
            raise NotRestored(f"{name}: the baked base has no such tensor. Name the base that the bake wrote.")
        if name not in self.kept.tensors:
            output.write(start, self.baked.mapped(holder.path).raw(key))
            return
        exact = self._exact(holder, name, key, TORCH_DTYPES[spec.dtype])
        content = tensor_bytes(exact)
        if blake3(content).hexdigest() != self.kept.tensors[name]:
            modules = ", ".join(part.module for part in self.baked.parts[holder.path, key])
            raise NotRestored(
                f"{modules}: is not the base's, bit for bit. Name the very sum that was baked in; "
                "where another machine baked it, take the base back there."
            )
        output.write(start, content)

    def _exact(self, holder: WeightFile, name: str, key: str, dtype: torch.dtype) -> Tensor:
        digits = self.kept.digits(name, dtype)
        if digits is None:
            return self.kept.whole(name, dtype)
        parts = part_sums([(1.0, self.baked)], self.source, self.baked.parts[holder.path, key], dtype)
        guess = torch.cat([_guess(part, first, end, dtype) for part in parts for first, end in part.blocks()])
        return from_digits(digits, guess)


def _guess(part: PartSum, first: int, end: int, dtype: torch.dtype) -> Tensor:
    return predicted(part, part.bases[0][1][first:end], first, end, dtype).flatten()
