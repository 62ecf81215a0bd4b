"""What a distillation consumes: latents and conditions of a whole data set, prepared once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from distill_jobs.bases.conditioning import Condition
from distill_jobs.data.dataset import Dataset
from distill_jobs.material.cache import distinct, embeddings, latents


@dataclass(frozen=True)
class Material:
    """Latents (P, C, h, w), the Q distinct conditions (row 0 tells nothing), and the row (P,) of each picture."""

    latents: Tensor
    conditions: Condition
    rows: Tensor

    def condition(self, chosen: Tensor) -> Condition:
        """What is told of the chosen pictures (B,)."""
        return self.conditions.at(self.rows[chosen])

    def unconditional(self, count: int) -> Condition:
        """`count` rows that tell nothing."""
        return self.conditions.at(self.rows.new_zeros(1)).repeated(count)


def prepare(pipe: Any, dataset: Dataset, folder: Path) -> Material:
    """The material of `dataset` for `pipe`, from the cache in `folder` or computed into it."""
    captions, rows = distinct(dataset.captions)
    return Material(latents(pipe, dataset, folder), Condition(embeddings(pipe, captions, folder)), rows)
