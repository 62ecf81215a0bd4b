"""The table of a job's evaluation, as lines of text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ui.cli import output

if TYPE_CHECKING:
    from registry.jobs import Job


def result_fields(job: "Job") -> dict[str, Any]:
    """What came out of a job, beside its evaluation's table."""
    return {key: value for key, value in (job.result or {}).items() if key != "evaluation"}


def print_evaluation(job: "Job") -> None:
    """Print the table of a job's evaluation, when it has one."""
    table = (job.result or {}).get("evaluation")
    if not table:
        return
    rows = [*table["rows"], *table["reference"]]
    measures = list(dict.fromkeys(measure for row in rows for measure in row["measures"]))
    output.rows(
        (f"after step {table['step']}", "evaluations", *measures),
        [
            (row["name"], row.get("evaluations", ""), *(_number(row["measures"].get(measure)) for measure in measures))
            for row in rows
        ],
    )


def _number(number: Mapping[str, float] | None) -> str:
    """The mean, and its interval where it has one."""
    if number is None:
        return ""
    spread = f" ({number['low']:.3f} to {number['high']:.3f})" if "low" in number else ""
    return f"{number['mean']:.3f}{spread}"
