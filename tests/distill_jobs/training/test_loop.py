"""The loop: order of data, schedule of the rate, checkpoints and resumption, for any loss."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from distill_jobs.errors import CheckpointMismatch, Diverged, Interrupted
from distill_jobs.progress import Progress
from distill_jobs.training.loop import optimise
from distill_jobs.training.settings import TrainingSettings
from distill_jobs.training.step import Step
from distill_jobs.training.trainer import CHECKPOINT, Trainer, rate_factor


def test_every_epoch_visits_every_picture_once_in_an_order_of_its_own() -> None:
    visited = torch.cat([Step(i, seed=3, batch=4).choice(10) for i in range(5)])
    first, second = visited[:10], visited[10:]
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(10))
    assert first.tolist() != second.tolist()


def test_a_batch_larger_than_the_data_set_runs_over_several_epochs() -> None:
    counts = Step(0, seed=3, batch=12).choice(5).bincount()
    assert counts.sum() == 12
    assert set(counts.tolist()) <= {2, 3}


def test_the_random_numbers_of_a_step_depend_on_seed_and_step_alone() -> None:
    draws = [
        torch.rand(2, generator=Step(n, seed=s, batch=1).generator()).tolist() for s, n in ((0, 0), (0, 1), (1, 0))
    ]
    assert draws[0] == torch.rand(2, generator=Step(0, seed=0, batch=1).generator()).tolist()
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize(("schedule", "half"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_the_rate_warms_up_then_falls(schedule: str, half: float) -> None:
    settings = TrainingSettings(steps=110, warmup=10, schedule=schedule)
    assert [rate_factor(i, settings) for i in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate_factor(60, settings) == pytest.approx(half)
    assert rate_factor(109, settings) <= rate_factor(60, settings)


def test_an_interrupted_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    settings = _settings(ema_rate=0.5)
    whole = _train(tmp_path / "whole", settings)
    with pytest.raises(Interrupted, match="cancel") as caught:
        _train(tmp_path / "halves", settings, stop_at=7)
    assert caught.value.step == 7
    resumed = _train(tmp_path / "halves", settings)
    assert all((whole[name] - resumed[name]).abs().max().item() == 0.0 for name in whole)


def test_a_training_that_was_killed_loses_at_most_the_steps_since_its_checkpoint(tmp_path: Path) -> None:
    settings = _settings(checkpoint_every=4)
    whole = _train(tmp_path / "whole", settings)
    with pytest.raises(ZeroDivisionError):
        _train(tmp_path / "killed", settings, fail_at=10)
    seen: list[Progress] = []
    resumed = _train(tmp_path / "killed", settings, report=seen.append)
    assert seen[0].step == 9
    assert all((whole[name] - resumed[name]).abs().max().item() == 0.0 for name in whole)


def test_a_finished_training_exports_its_result_again_without_a_step(tmp_path: Path) -> None:
    settings = _settings()
    whole = _train(tmp_path, settings)
    seen: list[Progress] = []
    again = _train(tmp_path, settings, report=seen.append)
    assert seen == []
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_moving_average_is_the_recursion_over_the_weights_of_every_step(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    trainer = Trainer({"p": parameter}, _settings(ema_rate=0.7), "identity")
    expected = parameter.detach().clone()
    for step in range(1, 31):
        trainer.update((parameter**2).sum())
        rate = min(0.7, step / (step + 10))
        expected = rate * expected + (1 - rate) * parameter.detach()
    torch.testing.assert_close(trainer.exported()["p"], expected, rtol=1e-12, atol=1e-12)


def test_the_exported_weights_can_be_shown_and_put_back() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    trainer = Trainer({"p": parameter}, _settings(ema_rate=0.9), "identity")
    trainer.update((parameter**2).sum())
    last = parameter.detach().clone()
    with trainer.showing_exported():
        assert torch.equal(parameter, trainer.average["p"])
        assert not torch.equal(parameter, last)
    assert torch.equal(parameter, last)


def test_progress_counts_steps_and_estimates_what_remains(tmp_path: Path) -> None:
    seen: list[Progress] = []
    _train(tmp_path, _settings(steps=5), report=seen.append)
    assert [(p.step, p.steps) for p in seen] == [(i, 5) for i in range(1, 6)]
    assert all(p.eta_seconds > 0 for p in seen[:-1])
    assert seen[-1].eta_seconds == 0
    assert all(p.loss > 0 and p.learning_rate > 0 for p in seen)


def test_strips_are_painted_when_due_and_after_the_last_step(tmp_path: Path) -> None:
    seen: list[Progress] = []
    _train(tmp_path, _settings(steps=7, sample_every=3, sample_prompts=("a",)), report=seen.append)
    assert [p.step for p in seen if p.strip] == [3, 6, 7]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    _train(tmp_path, _settings(steps=3))
    with pytest.raises(CheckpointMismatch, match="other settings, data or base"):
        _train(tmp_path, _settings(steps=3), identity="another")


def test_checkpoints_are_written_as_often_as_asked(tmp_path: Path) -> None:
    steps = []
    for every in (2, 5):
        with pytest.raises(ZeroDivisionError):
            _train(tmp_path / str(every), _settings(checkpoint_every=every), fail_at=9)
        steps.append(torch.load(tmp_path / str(every) / CHECKPOINT, weights_only=True)["step"])
    assert steps == [8, 5]


def test_a_loss_that_is_not_finite_stops_with_the_remedy() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    trainer = Trainer({"p": parameter}, _settings(), "identity")
    with pytest.raises(Diverged, match="step 0: the loss is inf; lower learning_rate"):
        trainer.update((parameter / 0).sum())


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": 3},
        {"rank": 0},
        {"learning_rate": 0},
        {"schedule": "exponential"},
        {"ema_rate": 1.0},
        {"sample_every": 5},
    ],
)
def test_settings_that_are_unknown_or_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings(**wrong)


def _settings(**changes: object) -> TrainingSettings:
    return TrainingSettings(**{"steps": 20, "batch": 2, "warmup": 3, "checkpoint_every": 6, **changes})


def _train(
    folder: Path,
    settings: TrainingSettings,
    *,
    identity: str = "identity",
    stop_at: int | None = None,
    fail_at: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Tensor]:
    """Fit a small network to noise; stop on request at one step, or die at another."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
    trainer = Trainer(dict(network.named_parameters()), settings, identity)

    def loss(step: Step) -> Tensor:
        if step.number == fail_at:
            raise ZeroDivisionError
        x = torch.randn(settings.batch, 3, generator=step.generator())
        return (network(x) - x[:, :2].flip(1)).square().mean()

    weights = optimise(
        trainer,
        loss,
        folder=folder,
        report=report,
        cancelled=lambda: "cancel" if stop_at is not None and trainer.step >= stop_at else None,
        paint_strip=lambda: folder / "strip.png",
    )
    return {name: value.detach().clone() for name, value in weights.items()}
