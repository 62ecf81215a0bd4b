"""What a distillation consumes: latents and conditions of a whole data set, prepared once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from distill_jobs.bases.conditioning import Condition, caption_rows, time_ids
from distill_jobs.data.dataset import Dataset
from distill_jobs.material.cache import conditions, latents
from sampling.base import picture_size


@dataclass(frozen=True)
class Material:
    """Latents (P, C, h, w), the Q distinct conditions (row 0 tells nothing), and the row (P,) of each picture.

    On SDXL also the time ids (P, 6): what each picture's size was, and what was cut from it.
    """

    latents: Tensor
    conditions: Condition
    rows: Tensor
    time_ids: Tensor | None = None

    def condition(self, chosen: Tensor) -> Condition:
        """What is told of the chosen pictures (B,)."""
        return self.told(self.rows[chosen], chosen)

    def told(self, rows: Tensor, chosen: Tensor) -> Condition:
        """The conditions in `rows` (B,) with the time ids of the chosen pictures (B,)."""
        return self.conditions.at(rows).with_time_ids(self._time_ids(chosen))

    def unconditional(self, condition: Condition) -> Condition:
        """As many rows that tell nothing, of the same pictures: their time ids are kept."""
        return self.conditions.at(self.rows.new_zeros(1)).repeated(len(condition)).with_time_ids(condition.time_ids)

    def _time_ids(self, chosen: Tensor) -> Tensor | None:
        return None if self.time_ids is None else self.time_ids[chosen]


def prepare(pipe: Any, dataset: Dataset, folder: Path) -> Material:
    """The material of `dataset` for `pipe`, from the cache in `folder` or computed into it."""
    captions, rows = caption_rows(pipe, dataset.captions)
    ids = time_ids(pipe, dataset, picture_size(pipe))
    return Material(latents(pipe, dataset, folder), conditions(pipe, captions, folder), rows, ids)
