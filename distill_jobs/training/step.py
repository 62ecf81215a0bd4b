"""One step's place in a training, and its random numbers.

All randomness of step i is drawn from generators that (seed, i) determine, so a checkpoint of the weights, the
optimiser, the average and the step holds the whole state: the data cursor and the next random numbers follow from it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step's position and its source of random numbers."""

    number: int
    seed: int
    batch: int

    def generator(self) -> torch.Generator:
        """A fresh torch generator that (seed, number) determines."""
        state = np.random.SeedSequence([self.seed, self.number]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))

    def choice(self, count: int) -> Tensor:
        """(batch,) int64 indices below `count`: every epoch is a fresh permutation, and batches run across its end."""
        first = self.number * self.batch
        places = np.arange(first, first + self.batch)
        orders = {e: _epoch(self.seed, e, count) for e in range(places[0] // count, places[-1] // count + 1)}
        return torch.tensor([orders[place // count][place % count] for place in places])


def _epoch(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 1_000_000_007, epoch]).permutation(count)
