"""The teacher's steps from M fixed noises a picture, computed at the first visit and kept for every later one.

The noise of (picture, m) follows from (seed, picture, m), and the epoch e visits every picture with m = e mod M, so
from epoch M on no step needs the teacher: 3 passes of the U-Net instead of 5.

A row's last bits depend on the batch that it was computed in. The batch of a row is that of its first visit, also when
it has to be computed again, so a training that was killed, or lost its file, goes on with the same bits.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_jobs.training.step import Step, epoch_order, seeded

PURPOSE = 3_141_592_653
"""Sets the streams of (seed, picture, m) apart from those of (seed, step)."""


@dataclass(frozen=True)
class Rows:
    """Pictures (B,) int64, and which of its M noises each is to have, (B,) int64."""

    pictures: Tensor
    noises: Tensor


@dataclass(frozen=True)
class Noise:
    """What (seed, picture, m) determine: the place on the grid (B,), eps (B, C, H, W), and a uniform number (B,)."""

    index: Tensor
    eps: Tensor
    uniform: Tensor


Solve = Callable[[Rows], Tensor]
"""The teacher: rows to z_end (B, C, H, W) float32."""


class Trajectories:
    """The kept steps of `pictures` pictures with latents of `shape` (C, H, W), in the file `path`.

    `seed`, `batch` and `parts` are those of the training's steps, `grid` is the number of places on the solver grid.
    """

    def __init__(
        self,
        path: Path,
        *,
        pictures: int,
        shape: Sequence[int],
        noises: int,
        grid: int,
        seed: int,
        batch: int,
        parts: int = 1,
    ) -> None:
        self.pictures, self.shape, self.noises, self.grid = pictures, tuple(shape), noises, grid
        self.seed, self.batch, self.parts = seed, batch, parts
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._kept = _opened(path, noises * pictures, self.shape)

    def rows(self, step: Step) -> Rows:
        """The rows of a step's own part."""
        epochs = step.epochs(self.pictures)
        return Rows(step.choice(self.pictures)[step.share], (epochs % self.noises)[step.share])

    def noise(self, rows: Rows) -> Noise:
        """The random numbers of the rows."""
        drawn = [self._drawn(p, m) for p, m in zip(rows.pictures.tolist(), rows.noises.tolist(), strict=True)]
        index, eps, uniform = zip(*drawn, strict=True)
        return Noise(torch.cat(index), torch.stack(eps), torch.cat(uniform))

    def ends(self, rows: Rows, solve: Solve) -> Tensor:
        """z_end (B, C, H, W) float32 of the rows; `solve` is asked for those that are not kept yet."""
        slots = (rows.noises * self.pictures + rows.pictures).tolist()
        for slot in slots:
            if self._read(slot) is None:
                self._compute(slot, solve)
        return torch.from_numpy(np.stack([self._sure(slot) for slot in slots]))

    def _drawn(self, picture: int, noise: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = seeded(self.seed, PURPOSE, picture, noise)
        index = torch.randint(self.grid, (1,), generator=generator)
        eps = torch.randn(self.shape, generator=generator)
        return index, eps, torch.rand(1, generator=generator)

    def _compute(self, slot: int, solve: Solve) -> None:
        """Keep the rows of the part of the step that visits `slot` first, all that it is the first to visit."""
        rows = self._first_visits(slot)
        for row, z_end in zip((rows.noises * self.pictures + rows.pictures).tolist(), solve(rows), strict=True):
            self._write(row, z_end)

    def _first_visits(self, slot: int) -> Rows:
        noise, picture = divmod(slot, self.pictures)
        place = noise * self.pictures + int(np.flatnonzero(self._order(noise) == picture)[0])
        number, row = divmod(place, self.batch)
        step = Step(number, self.seed, self.batch, row // (self.batch // self.parts), self.parts)
        first = (step.epochs(self.pictures) < self.noises)[step.share]
        rows = self.rows(step)
        return Rows(rows.pictures[first], rows.noises[first])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders[epoch] = epoch_order(self.seed, epoch, self.pictures)
        return self._orders[epoch]

    def _write(self, slot: int, z_end: Tensor) -> None:
        value = z_end.detach().float().cpu().contiguous().numpy()
        self._kept["z_end"][slot] = value
        self._kept["mark"][slot] = _mark(value)

    def _read(self, slot: int) -> NDArray[np.float32] | None:
        """The kept row; None when there is none, or a crash of the machine left only part of it."""
        value = self._kept["z_end"][slot]
        return value if self._kept["mark"][slot] == _mark(value) else None

    def _sure(self, slot: int) -> NDArray[np.float32]:
        if (value := self._read(slot)) is None:
            raise OSError(f"the kept trajectory {slot} cannot be read back after it was written; is the disk full?")
        return value


def trajectory_bytes(pictures: int, shape: Sequence[int], noises: int) -> int:
    """The size of the file in bytes, but for its header of at most 256."""
    return noises * pictures * _row(tuple(shape)).itemsize


def trajectory_file(folder: Path, *content: object) -> Path:
    """The file in `folder` of the trajectories that `content` determines."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return folder / f"trajectories-{digest[:32]}.npy"


def _opened(path: Path, slots: int, shape: tuple[int, ...]) -> np.memmap:
    """The mapped file, made empty where there is none; the system writes it out, also after a kill."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        np.lib.format.open_memmap(partial, mode="w+", dtype=_row(shape), shape=(slots,)).flush()
        partial.replace(path)
    return np.lib.format.open_memmap(path, mode="r+")


def _row(shape: tuple[int, ...]) -> np.dtype:
    return np.dtype([("mark", "<u8"), ("z_end", "<f4", shape)])


def _mark(value: NDArray[np.float32]) -> np.uint64:
    """Of a row's bytes, never 0, which an empty file is made of."""
    return np.uint64(zlib.crc32(np.ascontiguousarray(value).tobytes()) + 1)


def gap_warning(online: Sequence[float], cached: Sequence[float], limit: float) -> str | None:
    """What to say when the loss on fresh noise is more than `limit` times that on kept noise, both (checks,) losses."""
    fresh, kept = math.fsum(online) / len(online), math.fsum(cached) / len(cached)
    if fresh <= limit * kept:
        return None
    return (
        f"over the last {len(online)} checks the loss is {fresh:.4g} on fresh noise and {kept:.4g} on kept noise: the "
        "training learns its few noises by heart; raise trajectories, or set it to 0"
    )
