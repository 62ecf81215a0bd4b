"""Caption dropout: the share of captions that a step replaces by the empty one."""

import numpy as np
import torch
from torch import Tensor

from distill_jobs.training.step import Step

STREAM = 1_000_000_009
"""Sets this choice apart from a step's other random numbers: a share of 0 leaves every one of them as it is."""


def with_dropout(rows: Tensor, step: Step, share: float) -> Tensor:
    """(B,) caption rows with each replaced by 0, the row of the empty caption, with probability `share`.

    (step.seed, step.number) alone determine which: a resumed training drops the same captions.
    """
    dropped = np.random.default_rng([step.seed, STREAM, step.number]).random(len(rows)) < share
    return rows.masked_fill(torch.from_numpy(dropped), 0)
