"""The table of an evaluation: a row a contender, a number with its interval a measure; one JSON file a job."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sampling.contenders import Contender

TABLE = "evaluation.json"
PREFIX = "eval"
"""Of the queue's metrics."""


@dataclass(frozen=True)
class Number:
    """A mean over the pictures and its 95 % interval; a number of the whole set has none."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One contender's numbers; `contender` is None where no solver takes part (the zero predictor, f itself)."""

    name: str
    contender: Contender | None
    measures: Mapping[str, Number]

    def to_json(self) -> dict[str, Any]:
        """The row as the file has it."""
        contender = self.contender
        how = {} if contender is None else {**asdict(contender), "evaluations": contender.evaluations}
        numbers = {name: _without_none(number) for name, number in self.measures.items()}
        return {"name": self.name, **how, "measures": numbers}


@dataclass(frozen=True)
class Comparison:
    """The student beside another contender on the same pictures: a difference or, for the teacher, a ratio."""

    measure: str
    student: str
    against: str
    kind: str
    number: Number

    def to_json(self) -> dict[str, Any]:
        """The comparison as the file has it."""
        return {**asdict(self), "number": _without_none(self.number)}


@dataclass(frozen=True)
class Examined:
    """All that was measured of the weights after `step`."""

    step: int
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """The checkpoint as the file has it."""
        return {
            "step": self.step,
            "rows": [row.to_json() for row in self.rows],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }


class Table:
    """What was measured so far in one exam, kept in `folder`; what stands there of another exam is dropped."""

    def __init__(self, folder: Path, exam: str) -> None:
        self.path, self.exam = folder / TABLE, exam
        found = json.loads(self.path.read_text()) if self.path.exists() else {}
        fresh: dict[str, Any] = {"exam": exam, "reference": [], "checkpoints": []}
        self._document = found if found.get("exam") == exam else fresh

    def find(self, step: int) -> dict[str, Any] | None:
        """What stands of the weights after `step`."""
        return next((found for found in self._document["checkpoints"] if found["step"] == step), None)

    def add(self, examined: Examined, reference: Sequence[Row]) -> dict[str, Any]:
        """Write down what was measured of a step, and of the frozen base, whole or not at all."""
        row = examined.to_json()
        others = [found for found in self._document["checkpoints"] if found["step"] != examined.step]
        self._document = {
            "exam": self.exam,
            "reference": [each.to_json() for each in reference],
            "checkpoints": sorted([*others, row], key=lambda found: found["step"]),
        }
        partial = self.path.with_name(f"{TABLE}.partial")
        with partial.open("w") as stream:
            json.dump(self._document, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.path)
        return row


def means(examined: Mapping[str, Any]) -> dict[str, float]:
    """Every mean of one checkpoint by name: eval/tcd-4/endpoint_error."""
    return {
        f"{PREFIX}/{row['name']}/{measure}": number["mean"]
        for row in examined["rows"]
        for measure, number in row["measures"].items()
    }


def last_table(folder: Path, step: int | None = None) -> dict[str, Any] | None:
    """What stands beside a result: what was measured of `step` (default: the last), and the frozen base's rows.

    Of the baselines those that are the best of their cost by some measure; None when there is no such table.
    """
    path = folder / TABLE
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    checkpoints = document["checkpoints"]
    chosen = next((found for found in checkpoints if found["step"] == step), None) if step else checkpoints[-1]
    if chosen is None:
        return None
    best = {comparison["against"] for comparison in chosen["comparisons"]}
    rows = [row for row in document["reference"] if row.get("role") != "baseline" or row["name"] in best]
    return {**chosen, "reference": rows}


def _without_none(number: Number) -> dict[str, float]:
    return {name: value for name, value in asdict(number).items() if value is not None}
