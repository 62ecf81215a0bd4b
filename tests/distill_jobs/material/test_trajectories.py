"""Kept trajectories: the same bits however the file was lost, no teacher once all are kept, and the watch over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from distill_jobs.adapters import LCD_TARGETS, injected
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import Interrupted
from distill_jobs.kinds.lcd_lora import Distillation, LcdLoraSettings, distil, trajectories
from distill_jobs.material.material import prepare
from distill_jobs.material.trajectories import Rows, Trajectories, gap_warning, trajectory_bytes
from distill_jobs.progress import Progress
from distill_jobs.training.step import Step

Silent = dict[str, Callable[..., Any]]
SHAPE = (2, 3, 3)
KEPT: dict[str, Any] = {"rank": 2, "steps": 6, "batch": 4, "warmup": 1, "trajectories": 1, "checkpoint_every": 2}


class Solver:
    """A teacher whose answer depends, in its last bits, on the batch that it is asked in."""

    def __init__(self, store: Trajectories) -> None:
        self.store, self.asked = store, 0

    def __call__(self, rows: Rows) -> Tensor:
        self.asked += len(rows.pictures)
        eps = self.store.noise(rows).eps
        return eps + 1e-6 * eps.mean()


def test_every_row_is_computed_once_and_never_again(tmp_path: Path) -> None:
    store = _store(tmp_path)
    solver = Solver(store)
    for number in range(10):
        store.ends(store.rows(Step(number, 5, 4)), solver)
    assert solver.asked == 10 * 2


@pytest.mark.parametrize("parts", [1, 2])
def test_rows_have_the_same_bits_when_the_file_is_lost_at_any_step(tmp_path: Path, parts: int) -> None:
    whole = _visited(_store(tmp_path / "whole", parts=parts), range(12), parts)
    for lost_at in (1, 5, 9):
        fresh = _visited(_store(tmp_path / str(lost_at), parts=parts), range(lost_at, 12), parts)
        assert all(torch.equal(fresh[key], whole[key]) for key in fresh)


def test_a_row_that_was_written_in_part_is_computed_again(tmp_path: Path) -> None:
    before = _visited(_store(tmp_path), range(5), 1)
    path = tmp_path / "kept.npy"
    torn = np.lib.format.open_memmap(path, mode="r+")
    torn["z_end"][3, 0, 0] = 7.0
    torn.flush()
    after = _visited(_store(tmp_path), range(5), 1)
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_a_store_that_is_opened_again_asks_nothing(tmp_path: Path) -> None:
    _visited(_store(tmp_path), range(5), 1)
    again = _store(tmp_path)
    solver = Solver(again)
    again.ends(again.rows(Step(2, 5, 4)), solver)
    assert solver.asked == 0


def test_noise_follows_from_seed_picture_and_number_alone(tmp_path: Path) -> None:
    store, other = _store(tmp_path / "a"), _store(tmp_path / "b", seed=6)
    rows = Rows(torch.tensor([1, 2, 1]), torch.tensor([0, 0, 1]))
    noise, swapped = store.noise(rows), store.noise(Rows(rows.pictures.flip(0), rows.noises.flip(0)))
    assert torch.equal(noise.eps, swapped.eps.flip(0))
    assert len({float(value) for value in (*noise.uniform, other.noise(rows).uniform[0])}) == 4
    assert store.noise(Rows(torch.arange(10), torch.zeros(10, dtype=torch.int64))).index.max() < 50


def test_the_file_is_as_large_as_predicted(tmp_path: Path) -> None:
    _store(tmp_path)
    predicted = trajectory_bytes(10, SHAPE, 2)
    assert 0 < (tmp_path / "kept.npy").stat().st_size - predicted <= 256


def test_the_loss_equals_the_one_that_the_teacher_gives_on_the_same_noise(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(**KEPT)
    material = prepare(base, dataset, tmp_path)
    kept = trajectories(base, dataset, material, settings, tmp_path)
    assert kept is not None
    step = Step(4, settings.seed, settings.batch)
    with injected(base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter:
        distillation = Distillation(base, adapter, material, settings, kept)
        noise = kept.noise(kept.rows(step))
        chosen = step.choice(len(material.rows))
        condition = material.condition(chosen)
        point = distillation.consistency.point(material.latents[chosen], noise.eps, noise.index)
        student = distillation.student(condition)
        expected = distillation.consistency(point, distillation.teacher_step(point, condition), student, student)
        assert distillation.loss(step).item() == pytest.approx(expected.item(), rel=1e-5)


def test_later_epochs_run_the_network_in_three_units_instead_of_five(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(**KEPT)
    material = prepare(base, dataset, tmp_path)
    rows: list[int] = []
    with injected(base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter:
        kept = trajectories(base, dataset, material, settings, tmp_path)
        distillation = Distillation(base, adapter, material, settings, kept)
        hook = base.unet.conv_in.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
        for number in (0, 0, 5):
            distillation.loss(Step(number, settings.seed, settings.batch))
        hook.remove()
    assert rows[:3] == [8, 4, 4]
    assert rows[3:5] == [4, 4]


def test_stopped_killed_or_without_its_file_it_ends_at_the_same_bits(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    settings = LcdLoraSettings(**KEPT)
    whole = load_file(distil(base, dataset, settings, folder=tmp_path / "whole", **silent))
    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        distil(
            base,
            dataset,
            settings,
            folder=tmp_path / "halves",
            report=seen.append,
            cancelled=lambda: "cancel" if len(seen) == 3 else None,
        )
    for path in (tmp_path / "halves" / "cache").glob("trajectories-*"):
        path.unlink()
    resumed = load_file(distil(base, dataset, settings, folder=tmp_path / "halves", **silent))
    assert max((resumed[name] - whole[name]).abs().max().item() for name in whole) == 0.0


def test_kept_and_fresh_noise_are_compared_without_touching_the_training(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    seen: list[Progress] = []
    watched = {**silent, "report": seen.append}
    plain = load_file(distil(base, dataset, LcdLoraSettings(**KEPT), folder=tmp_path / "plain", **silent))
    settings = LcdLoraSettings(**KEPT, trajectory_check_every=3)
    checked = load_file(distil(base, dataset, settings, folder=tmp_path / "checked", **watched))
    assert all(torch.equal(plain[name], checked[name]) for name in plain)
    assert [sorted(p.metrics) for p in seen if p.metrics] == [["loss/cached", "loss/online"]] * 2
    assert [p.step for p in seen if p.metrics] == [3, 6]


def test_a_student_that_knows_its_noises_by_heart_is_warned_of() -> None:
    assert gap_warning([1.0, 1.2], [1.0, 1.1], 1.25) is None
    assert "raise trajectories, or set it to 0" in str(gap_warning([1.0, 2.0], [1.0, 1.0], 1.25))


def test_a_comparison_without_trajectories_is_refused() -> None:
    with pytest.raises(ValidationError, match="trajectories is 0"):
        LcdLoraSettings(trajectory_check_every=5)


def _store(folder: Path, *, seed: int = 5, parts: int = 1) -> Trajectories:
    return Trajectories(
        folder / "kept.npy", pictures=10, shape=SHAPE, noises=2, grid=50, seed=seed, batch=4, parts=parts
    )


def _visited(store: Trajectories, numbers: range, parts: int) -> dict[tuple[int, int], Tensor]:
    seen: dict[tuple[int, int], Tensor] = {}
    for number in numbers:
        for part in range(parts):
            rows = store.rows(Step(number, 5, 4, part, parts))
            keys = zip(rows.pictures.tolist(), rows.noises.tolist(), strict=True)
            seen.update(zip(keys, store.ends(rows, Solver(store)), strict=True))
    return seen
