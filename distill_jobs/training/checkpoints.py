"""The checkpoints that outlive the one a training resumes from: the last ones, and the best by some measure.

Each is the resumable checkpoint of its step under a name of its own: a second link to the same file where the file
system can, a copy where it cannot. An index, written whole or not at all, says which are kept; a file that it does
not name is removed after it is on disk, so that a crash at any moment leaves every kept checkpoint whole.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from distill_jobs.errors import NoCheckpoint
from distill_jobs.training.processes import company
from distill_jobs.training.trainer import CHECKPOINT, Trainer, Weights

FOLDER = "checkpoints"
INDEX = "index.json"


class Examine(Protocol):
    """Measures the weights that were just saved, where that is due."""

    @property
    def exam(self) -> str:
        """The digest of all that a score depends on beside the weights: scores of other exams do not compare."""

    @property
    def keep_best(self) -> int:
        """How many of the best checkpoints are kept."""

    @property
    def exports_best(self) -> bool:
        """Whether the best checkpoint is what the training exports, instead of the last."""

    def is_due(self, step: int) -> bool:
        """Whether the weights after `step` are to be measured."""

    def __call__(self) -> float:
        """The score of the present weights, lower is better; the same again for the same weights."""


@dataclass(frozen=True)
class Kept:
    """One checkpoint of the index; `score` is None where it was not measured in the present exam."""

    step: int
    score: float | None

    @property
    def name(self) -> str:
        """The file's name."""
        return f"step-{self.step:08d}.pt"


class Checkpoints:
    """Saves a trainer's checkpoints in `folder`, has them examined, and keeps what its settings ask for."""

    def __init__(self, trainer: Trainer, folder: Path, examine: Examine | None = None) -> None:
        self.trainer, self.folder, self.examine = trainer, folder, examine
        self._kept = _read(folder / FOLDER / INDEX, None if examine is None else examine.exam)

    def resume(self) -> None:
        """Go on from the checkpoint on disk; what an interruption cut off after it was saved is done now."""
        self.trainer.resume(self.folder)
        self._kept = tuple(kept for kept in self._kept if kept.step <= self.trainer.step)  # the rest is another run's
        if company().leads and self.trainer.step and self.is_due(self.trainer.step):
            self._settle()

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after `step`."""
        settings = self.trainer.settings
        is_regular = step % settings.checkpoint_every == 0 or step == settings.steps
        return is_regular or self._examines(step)

    def save(self) -> None:
        """Write the checkpoint of the present step, examine it if that is due, and keep it if it is worth it."""
        self.trainer.save(self.folder)
        self._settle()

    def exported(self) -> Weights:
        """The weights to export: the last ones, or those of the best checkpoint.

        Raises NoCheckpoint when the best is asked for and none was measured.
        """
        if self.examine is None or not self.examine.exports_best:
            return self.trainer.exported()
        return self.trainer.exported_from(self.folder / FOLDER / self.best().name)

    def best(self) -> Kept:
        """The checkpoint with the lowest score, the earlier of two that tie. Raises NoCheckpoint."""
        return best_of(self._kept, self.folder)

    def _examines(self, step: int) -> bool:
        return self.examine is not None and self.examine.is_due(step)

    def _settle(self) -> None:
        step = self.trainer.step
        score = self.examine() if self.examine is not None and self.examine.is_due(step) else None
        others = [kept for kept in self._kept if kept.step != step]
        self._kept = self._worth_keeping(sorted([*others, Kept(step, score)], key=lambda kept: kept.step))
        if self._kept or (self.folder / FOLDER).exists():
            self._write(step)

    def _worth_keeping(self, known: Sequence[Kept]) -> tuple[Kept, ...]:
        last = known[-self.trainer.settings.keep_last :] if self.trainer.settings.keep_last else ()
        best = _ranked(known)[: self.examine.keep_best] if self.examine is not None else ()
        return tuple(kept for kept in known if kept in last or kept in best)

    def _write(self, step: int) -> None:
        folder = self.folder / FOLDER
        folder.mkdir(exist_ok=True)
        for kept in self._kept:
            if kept.step == step:
                _link(self.folder / CHECKPOINT, folder / kept.name)
        _write_durably(folder / INDEX, json.dumps(self._document(), indent=2))
        names = {INDEX, *(kept.name for kept in self._kept)}
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()

    def _document(self) -> dict[str, object]:
        exam = None if self.examine is None else self.examine.exam
        return {"exam": exam, "checkpoints": [asdict(kept) for kept in self._kept]}


def best_step(folder: Path) -> int:
    """The step of the best checkpoint that a training in `folder` keeps. Raises NoCheckpoint."""
    path = folder / FOLDER / INDEX
    rows = json.loads(path.read_text())["checkpoints"] if path.exists() else []
    return best_of([Kept(**row) for row in rows], folder).step


def best_of(kept: Sequence[Kept], folder: Path) -> Kept:
    """The checkpoint with the lowest score, the earlier of two that tie. Raises NoCheckpoint."""
    if not (ranked := _ranked(kept)):
        raise NoCheckpoint(
            f"{folder / FOLDER}: no kept checkpoint was measured, so none is the best; "
            "evaluate at least once and keep at least one of the best, or export the last"
        )
    return ranked[0]


def _ranked(kept: Sequence[Kept]) -> list[Kept]:
    """Those that have a score, the best first."""
    scored = [(each.score, each.step, each) for each in kept if each.score is not None]
    return [each for *_, each in sorted(scored, key=lambda row: row[:2])]


def _read(path: Path, exam: str | None) -> tuple[Kept, ...]:
    """The index at `path`; scores of another exam than `exam` are forgotten."""
    if not path.exists():
        return ()
    document = json.loads(path.read_text())
    same = document["exam"] == exam
    return tuple(Kept(row["step"], row["score"] if same else None) for row in document["checkpoints"])


def _link(source: Path, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        _copy_durably(source, partial)
    partial.replace(path)


def _copy_durably(source: Path, path: Path) -> None:
    with source.open("rb") as reader, path.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())


def _write_durably(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
