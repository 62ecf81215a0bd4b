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
    """One step's position and its source of random numbers; of a batch cut into `parts`, the part numbered `part`.

    Pictures and random numbers are drawn for the whole batch, so that its parts together are the uncut batch.
    """

    number: int
    seed: int
    batch: int
    part: int = 0
    parts: int = 1

    @property
    def share(self) -> slice:
        """The rows of the batch that belong to this part."""
        size = self.batch // self.parts
        return slice(self.part * size, (self.part + 1) * size)

    def generator(self, purpose: int = 0) -> torch.Generator:
        """A fresh torch generator that (seed, number) determines; other purposes draw from streams of their own."""
        words = [self.seed, self.number, purpose] if purpose else [self.seed, self.number]
        return seeded(*words)

    def choice(self, count: int) -> Tensor:
        """(batch,) int64 indices below `count`: every epoch is a fresh permutation, and batches run across its end."""
        places = self._places()
        orders = {e: epoch_order(self.seed, e, count) for e in range(places[0] // count, places[-1] // count + 1)}
        return torch.tensor([orders[place // count][place % count] for place in places])

    def epochs(self, count: int) -> Tensor:
        """(batch,) int64: how often each chosen picture of `count` was visited before."""
        return torch.from_numpy(self._places() // count)

    def _places(self) -> np.ndarray:
        return np.arange(self.number * self.batch, (self.number + 1) * self.batch)


def seeded(*words: int) -> torch.Generator:
    """A fresh torch generator that the words determine."""
    state = np.random.SeedSequence(list(words)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,): the order in which an epoch visits the pictures."""
    return np.random.default_rng([seed, 1_000_000_007, epoch]).permutation(count)
