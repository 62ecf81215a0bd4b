"""What training and its workers refuse.

DistillError
|-- DatasetError            a data set that cannot be trained on
|   |-- EmptyDataset            no picture in it
|   |-- MissingCaptions         pictures without a caption, or captions without a picture
|   |-- CorruptPictures         pictures that do not decode, each named
|   |-- UnknownColumn           a column, or a key of JSON, that is not there or not the only one
|   `-- BrokenArchive           a tar or parquet file that cannot be read to its end
|-- UnsupportedBase         a pipeline that this training cannot drive
|-- PreflightRefused        what is known to go wrong before the first step
|-- UnknownTarget           a target module that matches nothing in the network
|-- CheckpointMismatch      a checkpoint of other settings, data or base
|-- NoCheckpoint            the best checkpoint is asked for, and none was measured
|-- EvaluationRefused       an evaluation that cannot be done as asked
|-- Diverged                the loss is no longer a finite number
|-- UnavailableCompute      a device, library or kernel that this machine lacks
|-- CompileMismatch         compiled, the network computes something else
|-- ProcessLost             one of several training processes ended
|-- Stopped                 stopped on request
|   `-- Interrupted             after a checkpoint
|-- UnusableSlots           slots and devices that do not go together
|-- NotClaimable            a job that cannot run now
|-- ClusterUnreachable      no Ray cluster answers at the executor's address
`-- UnknownJobKind          no function is known for a job's kind
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

SHOWN = 5
"""How many names an error spells out before it counts the rest."""


class DistillError(Exception):
    """Base of everything this package raises on purpose."""


class DatasetError(DistillError):
    """A data set that cannot be trained on."""


class EmptyDataset(DatasetError):
    """No picture in it."""

    def __init__(self, where: object) -> None:
        super().__init__(
            f"{where}: no pictures to train on; expected metadata.jsonl with file_name and text, "
            "or pictures with a .txt caption of the same name beside each, or .parquet files, or .tar shards"
        )


class MissingCaptions(DatasetError):
    """Pictures without a caption, or captions without a picture."""

    def __init__(self, where: object, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{where}: {len(problems)} {_plural('entry', 'entries', problems)} without a caption or a picture: "
            f"{_some(problems)}. Add what is missing, or remove the entry."
        )


class CorruptPictures(DatasetError):
    """Pictures that do not decode."""

    def __init__(self, where: object, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{where}: {len(problems)} corrupt {_plural('picture', 'pictures', problems)}: {_some(problems)}. "
            "Replace or remove them, or leave them out by --skip-corrupt; none is left out in silence. "
            "All of them: tau data check"
        )


class UnknownColumn(DatasetError):
    """A column, or a key of JSON, that is not there or not the only one; `role` is image or caption."""

    def __init__(self, where: object, role: str, wanted: str | None, there: Sequence[str], reason: str = "") -> None:
        self.there = tuple(there)
        asked = f"no column {wanted!r}" if wanted is not None else f"no column for the {role}"
        near = get_close_matches(wanted or role, there, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        listed = ", ".join(there) or "none"
        super().__init__(f"{where}: {reason or asked}; it has {listed}.{meant} Name one: --{role}-column NAME")


class BrokenArchive(DatasetError):
    """A tar or parquet file that cannot be read to its end."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: broken: {reason}")


class UnsupportedBase(DistillError):
    """A pipeline that this training cannot drive."""


class PreflightRefused(DistillError):
    """What is known to go wrong before the first step."""


class UnknownTarget(DistillError):
    """A target module that matches nothing in the network."""


class CheckpointMismatch(DistillError):
    """A checkpoint of other settings, data or base."""


class NoCheckpoint(DistillError):
    """The best checkpoint is asked for, and none was measured."""


class EvaluationRefused(DistillError):
    """An evaluation that cannot be done as asked."""


class Diverged(DistillError):
    """The loss is no longer a finite number."""


class Stopped(DistillError):
    """Stopped on request; the job is put down as was wanted."""


class UnusableSlots(DistillError):
    """Slots and devices that do not go together."""


class NotClaimable(DistillError):
    """A job that cannot run now."""


class ClusterUnreachable(DistillError):
    """No Ray cluster answers at the executor's address."""


class Interrupted(Stopped):
    """Stopped on request; the checkpoint of `step` is on disk."""

    def __init__(self, reason: str, step: int) -> None:
        self.reason, self.step = reason, step
        super().__init__(f"stopped after step {step} ({reason}); the checkpoint resumes there")


class UnavailableCompute(DistillError):
    """A device, library or kernel that this machine lacks."""


class CompileMismatch(DistillError):
    """Compiled, the network computes something else."""


class ProcessLost(DistillError, ConnectionError):
    """One of several training processes ended; as trouble of the machine, it is worth another attempt."""


class UnknownJobKind(DistillError):
    """No function is known for a job's kind."""


def _plural(one: str, many: str, items: Sequence[str]) -> str:
    return one if len(items) == 1 else many


def _some(items: Sequence[str]) -> str:
    listed = "; ".join(items[:SHOWN])
    return listed if len(items) <= SHOWN else f"{listed}; and {len(items) - SHOWN} more"
