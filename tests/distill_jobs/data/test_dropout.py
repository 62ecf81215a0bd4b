"""Which captions a step drops follows from the seed and the step alone."""

import numpy as np
import pytest
import torch

from distill_jobs.data.dropout import with_dropout
from distill_jobs.training.step import Step


def test_a_share_of_zero_leaves_every_row_and_a_share_of_one_none() -> None:
    rows = torch.arange(1, 65)
    assert torch.equal(with_dropout(rows, Step(3, 1, 64), 0.0), rows)
    assert not with_dropout(rows, Step(3, 1, 64), 1.0).any()
    assert torch.equal(rows, torch.arange(1, 65))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_over_many_steps_the_share_of_dropped_captions_is_the_one_asked_for(share: float) -> None:
    rows, steps = torch.ones(100, dtype=torch.int64), 200
    dropped = [(with_dropout(rows, Step(number, 0, 100), share) == 0).sum().item() for number in range(steps)]
    deviation = np.sqrt(share * (1 - share) / (100 * steps))
    assert abs(sum(dropped) / (100 * steps) - share) < 4 * deviation
    assert len(set(dropped)) > 5


def test_the_choice_is_the_same_again_and_another_at_another_step_or_seed() -> None:
    rows = torch.ones(64, dtype=torch.int64)
    chosen = [with_dropout(rows, Step(*place, 64), 0.5).tolist() for place in ((1, 0), (1, 0), (2, 0), (1, 1))]
    assert chosen[0] == chosen[1]
    assert len({tuple(row) for row in chosen}) == 3


def test_a_larger_share_drops_what_a_smaller_one_drops_and_more() -> None:
    rows, step = torch.ones(64, dtype=torch.int64), Step(7, 0, 64)
    less, more = (with_dropout(rows, step, share) == 0 for share in (0.2, 0.6))
    assert (less & more).equal(less)
    assert more.sum() > less.sum()
