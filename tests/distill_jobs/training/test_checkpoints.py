"""Kept checkpoints: the last, the best, what is exported, and that a crash at any write loses none."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill_jobs.errors import CheckpointMismatch, NoCheckpoint
from distill_jobs.training.checkpoints import FOLDER, INDEX, best_step
from distill_jobs.training.loop import optimise
from distill_jobs.training.settings import TrainingSettings
from distill_jobs.training.step import Step
from distill_jobs.training.trainer import CHECKPOINT, Trainer


@dataclass
class Scores:
    """An examination with written scores, one a step; counts what it was asked."""

    scores: dict[int, float]
    keep_best: int = 1
    exports_best: bool = False
    exam: str = "exam"
    asked: list[int] = field(default_factory=list)
    trainer: Trainer | None = None
    fail_at: int | None = None

    def is_due(self, step: int) -> bool:
        return step in self.scores

    def __call__(self) -> float:
        assert self.trainer is not None
        step = self.trainer.step
        self.asked.append(step)
        if step == self.fail_at:
            raise ZeroDivisionError
        return self.scores[step]


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    _train(tmp_path, keep_last=2)
    assert _kept(tmp_path) == {8: None, 10: None}


def test_without_being_asked_nothing_is_kept_beside_the_one_to_resume_from(tmp_path: Path) -> None:
    _train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_the_best_are_kept_wherever_they_stand(tmp_path: Path) -> None:
    _train(tmp_path, Scores({2: 5.0, 4: 1.0, 6: 3.0, 8: 2.0, 10: 4.0}, keep_best=2), keep_last=1)
    assert _kept(tmp_path) == {4: 1.0, 8: 2.0, 10: 4.0}
    assert best_step(tmp_path) == 4


def test_of_two_that_tie_the_earlier_is_the_best(tmp_path: Path) -> None:
    _train(tmp_path, Scores({4: 1.0, 8: 1.0}))
    assert _kept(tmp_path) == {4: 1.0}


def test_a_checkpoint_is_also_written_where_only_an_examination_is_due(tmp_path: Path) -> None:
    _train(tmp_path, Scores({3: 1.0, 7: 2.0}))
    assert _kept(tmp_path) == {3: 1.0}
    assert _step_of(tmp_path / FOLDER / "step-00000003.pt") == 3


def test_the_best_is_exported_when_asked_for_and_the_last_otherwise(tmp_path: Path) -> None:
    scores = {2: 3.0, 4: 1.0, 6: 2.0}
    last = _train(tmp_path / "last", Scores(scores))
    best = _train(tmp_path / "best", Scores(scores, exports_best=True))
    at_four = torch.load(tmp_path / "best" / FOLDER / "step-00000004.pt", weights_only=True)
    assert torch.equal(best["weight"], at_four["weights"]["weight"])
    assert not torch.equal(best["weight"], last["weight"])


def test_with_a_moving_average_the_best_checkpoint_s_average_is_exported(tmp_path: Path) -> None:
    best = _train(tmp_path, Scores({4: 1.0}, exports_best=True), ema_rate=0.5)
    at_four = torch.load(tmp_path / FOLDER / "step-00000004.pt", weights_only=True)
    assert torch.equal(best["weight"], at_four["average"]["weight"])
    assert not torch.equal(best["weight"], at_four["weights"]["weight"])


def test_no_best_is_exported_where_none_was_measured(tmp_path: Path) -> None:
    with pytest.raises(NoCheckpoint, match="evaluate at least once"):
        _train(tmp_path, Scores({}, exports_best=True))


def test_a_kept_checkpoint_can_be_resumed_from(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", keep_last=3)
    (tmp_path / "again").mkdir()
    os.link(tmp_path / "whole" / FOLDER / "step-00000006.pt", tmp_path / "again" / CHECKPOINT)
    assert torch.equal(_train(tmp_path / "again")["weight"], whole["weight"])


def test_scores_of_another_exam_do_not_compete(tmp_path: Path) -> None:
    _train(tmp_path, Scores({2: 1.0}), keep_last=1)
    _train(tmp_path, Scores({10: 9.0}, exam="another"), keep_last=1)
    assert _kept(tmp_path) == {10: 9.0}


def test_what_an_earlier_training_left_in_the_folder_does_not_compete(tmp_path: Path) -> None:
    _train(tmp_path, Scores({8: 1.0}), keep_last=1)
    (tmp_path / CHECKPOINT).unlink()
    _train(tmp_path, Scores({4: 2.0}), keep_last=1, steps=6)
    assert _kept(tmp_path) == {4: 2.0, 6: None}


def test_an_examination_that_was_cut_off_is_made_up_for_on_resumption(tmp_path: Path) -> None:
    scores = {4: 2.0, 8: 1.0}
    whole = _train(tmp_path / "whole", Scores(scores))
    with pytest.raises(ZeroDivisionError):
        _train(tmp_path / "cut", Scores(scores, fail_at=4))
    again = Scores(scores)
    resumed = _train(tmp_path / "cut", again)
    assert again.asked == [4, 8]
    assert torch.equal(resumed["weight"], whole["weight"])
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


@pytest.mark.parametrize("fail_at", range(8))
def test_a_crash_at_any_file_operation_loses_no_kept_checkpoint(tmp_path: Path, fail_at: int) -> None:
    scores = {2: 3.0, 4: 1.0, 6: 2.0, 8: 5.0, 10: 4.0}
    whole = _train(tmp_path / "whole", Scores(scores, exports_best=True), keep_last=1)
    with _crashing_rename(5 + fail_at), pytest.raises(OSError, match="crash"):
        _train(tmp_path / "crashed", Scores(scores, exports_best=True), keep_last=1)
    for name in json.loads((tmp_path / "crashed" / FOLDER / INDEX).read_text())["checkpoints"]:
        assert _step_of(tmp_path / "crashed" / FOLDER / f"step-{name['step']:08d}.pt") == name["step"]
    resumed = _train(tmp_path / "crashed", Scores(scores, exports_best=True), keep_last=1)
    assert torch.equal(resumed["weight"], whole["weight"])
    assert _files(tmp_path / "crashed") == _files(tmp_path / "whole")


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, path: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    _train(tmp_path, keep_last=1)
    assert _step_of(tmp_path / FOLDER / "step-00000010.pt") == 10


def test_a_kept_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    _train(tmp_path, Scores({4: 1.0}))
    other = Trainer({"p": nn.Parameter(torch.zeros(1))}, _settings(), "another")
    with pytest.raises(CheckpointMismatch):
        other.exported_from(tmp_path / FOLDER / "step-00000004.pt")


@contextmanager
def _crashing_rename(at: int) -> Iterator[None]:
    """Inside, the rename number `at` fails as if the machine had stopped there."""
    patch, rename, count = pytest.MonkeyPatch(), Path.replace, iter(range(1000))

    def crash(self: Path, target: Path) -> Path:
        if next(count) >= at:
            raise OSError("crash")
        return rename(self, target)

    with patch.context() as changed:
        changed.setattr(Path, "replace", crash)
        yield


def _kept(folder: Path) -> dict[int, float | None]:
    """What the index names, checked against the files that are there."""
    rows = json.loads((folder / FOLDER / INDEX).read_text())["checkpoints"]
    files = {path.name for path in (folder / FOLDER).iterdir()} - {INDEX}
    assert files == {f"step-{row['step']:08d}.pt" for row in rows}
    assert all(_step_of(folder / FOLDER / f"step-{row['step']:08d}.pt") == row["step"] for row in rows)
    return {row["step"]: row["score"] for row in rows}


def _files(folder: Path) -> dict[str, int]:
    index = json.loads((folder / FOLDER / INDEX).read_text())
    return {path.name: _step_of(path) for path in (folder / FOLDER).glob("*.pt")} | {json.dumps(index): 0}


def _step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["step"])


def _settings(**changes: object) -> TrainingSettings:
    return TrainingSettings(**{"steps": 10, "batch": 2, "warmup": 3, "checkpoint_every": 2, **changes})


def _train(folder: Path, examine: Scores | None = None, **changes: object) -> dict[str, Tensor]:
    """Fit a small network to noise in ten steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
    settings = _settings(**changes)
    trainer = Trainer(dict(network.named_parameters()), settings, "identity")
    if examine is not None:
        examine.trainer = trainer

    def loss(step: Step) -> Tensor:
        x = torch.randn(settings.batch, 3, generator=step.generator())
        return (network(x) - x[:, :2].flip(1)).square().mean()

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    weights = optimise(
        trainer,
        loss,
        folder=folder,
        report=nothing,
        cancelled=lambda: None,
        paint_strip=lambda: folder / "strip.png",
        examine=examine,
    )
    return {name: value.detach().clone() for name, value in weights.items()}
