"""Turns the rows of the reproduction into docs/reproduction.md, its JSON, and the settings that the demo uses."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demo.shipped import TUNING_FILE, tuning
from sampling import paired_bootstrap
from workbench.demo.evaluation import EVALUATIONS

Row = dict[str, Any]
COMPARED = (
    "seed",
    "style",
    "lambdas",
    "evaluations",
    "composition",
    "best baseline",
    "its setting",
    "difference",
    "interval",
)
BEATEN_AT = (1, 2, 4)
SHARE_TARGET = 0.9


class Comparison(NamedTuple):
    """The composition beside the best baseline at one cost, for one seed and style."""

    seed: int
    style: str
    evaluations: int
    composition: Row
    baseline: Row
    mean: float
    low: float
    high: float


class LambdaGrid(NamedTuple):
    """Joint accuracy of the 4-step composition at every (lambda_1, lambda_2), on the tuning noises."""

    seed: int
    style: str
    scores: dict[tuple[float, float], float]


class Share(NamedTuple):
    """Joint accuracy of the 4-step composition as a share of the styled teacher's."""

    label: str
    composition: float
    teacher: float
    ratio: float
    low: float
    high: float


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Composition (LCM) against the best of all baselines at equal evaluations, picked on the same pictures."""
    found = []
    for (seed, style), group in _grouped(rows).items():
        for evaluations in EVALUATIONS:
            ours = next(r for r in group if r["role"] == "composition" and _is(r, "lcm", evaluations))
            rivals = [r for r in group if r["role"] == "baseline" and r["evaluations"] == evaluations]
            best = max(rivals, key=lambda r: r["joint_accuracy"])
            interval = paired_bootstrap(ours["right"], best["right"], seed=0)
            found.append(Comparison(seed, style, evaluations, ours, best, *interval))
    return found


def shares(rows: Sequence[Row]) -> list[Share]:
    """The share of the teacher for each seed and style, and over all of them together."""
    found, pooled_ours, pooled_teacher = [], [], []
    for (seed, style), group in _grouped(rows).items():
        ours = next(r for r in group if r["role"] == "composition" and _is(r, "lcm", 4))["right"]
        teacher = next(r for r in group if r["role"] == "teacher")["right"]
        found.append(_share(f"seed {seed}, {style}", ours, teacher))
        pooled_ours += ours
        pooled_teacher += teacher
    return [*found, _share("all", pooled_ours, pooled_teacher)]


def _share(label: str, ours: Sequence[int], teacher: Sequence[int]) -> Share:
    a, b = np.asarray(ours, dtype=float), np.asarray(teacher, dtype=float)
    rng = np.random.default_rng(0)
    draws = [rng.integers(a.size, size=a.size) for _ in range(4000)]
    ratios: NDArray[np.float64] = np.array([a[i].mean() / b[i].mean() for i in draws])
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Share(label, a.mean(), b.mean(), a.mean() / b.mean(), float(low), float(high))


def _is(row: Row, solver: str, evaluations: int) -> bool:
    return row["solver"] == solver and row["evaluations"] == evaluations


def _grouped(rows: Sequence[Row]) -> dict[tuple[int, str], list[Row]]:
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["seed"], row["style"]].append(row)
    return groups


def write_report(path: Path, rows: Sequence[Row], grids: Sequence[LambdaGrid], *, w: float, command: str) -> None:
    """Write `path` (Markdown), its figures as JSON beside it, and what the demo takes from them (tuning.json).

    `command` is what made the rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    comparisons, ratios = compare(rows), shares(rows)
    path.write_text("\n".join(_page(rows, comparisons, ratios, grids, w, command)) + "\n")
    figures = [{key: value for key, value in row.items() if key != "right"} for row in rows]
    path.with_suffix(".json").write_text(
        json.dumps({"w": w, "rows": figures, "grids": _grid_rows(grids)}, indent=1) + "\n"
    )
    settings = {**tuning(), "strengths": _strengths(rows), "baselines": _best_settings(rows)}
    TUNING_FILE.write_text(json.dumps(settings, indent=2) + "\n")


def _page(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    ratios: Sequence[Share],
    grids: Sequence[LambdaGrid],
    w: float,
    command: str,
) -> list[str]:
    return [
        *_preamble(len(rows[0]["right"]), w, command),
        "## Share of the styled teacher (target: at least 0.9)",
        "",
        "| | composition, 4 evaluations | teacher, DDIM-50, 100 evaluations | share | interval | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {s.label} | {s.composition:.3f} | {s.teacher:.3f} | {s.ratio:.3f} | {s.low:.3f} to {s.high:.3f} "
            f"| {_verdict(s.ratio >= SHARE_TARGET)} |"
            for s in ratios
        ),
        "",
        "## Against the best baseline at equal evaluations (target at 1, 2 and 4: interval above 0)",
        "",
        "| " + " | ".join(COMPARED) + " | |",
        "|" + "---|" * (len(COMPARED) + 1),
        *(_comparison_line(c) for c in comparisons),
        "",
        "## Where the optimum lies: joint accuracy over lambda_1 and lambda_2",
        "",
        "Four evaluations, the tuning noises (288 pictures a cell), mean over the seeds. The lambdas above are those",
        "of the best cell of each seed, a cell counting half and it with its neighbours the other half.",
        *(line for style in sorted({g.style for g in grids}) for line in _grid_lines(style, grids)),
        "",
        "## Noise-free sampling of the same composition (TCD, eta 0) and endpoint errors",
        "",
        "Endpoint error: MSE to the styled teacher's endpoint from the same noise, over its variance. LCM injects",
        "fresh noise after its first step, so for more steps only TCD at eta 0 has one.",
        "",
        "| style | steps | joint, LCM | joint, TCD | endpoint error, TCD | one-step endpoint error, best baseline |",
        "|---|---|---|---|---|---|",
        *_endpoint_lines(rows),
        "",
    ]


def _preamble(pictures: int, w: float, command: str) -> list[str]:
    return [
        "# Reproduction of the main claim",
        "",
        f"`{command}`",
        "",
        "wrote this page. The base, the judge and the style vectors are the shipped ones; the acceleration vector is",
        f"distilled anew for each seed (w = {w:g}; the teacher paints at guidance {w + 1:g}).",
        f"Every figure is over {pictures} pictures ({pictures // 144} noises a caption); joint = all attributes and",
        "the style right on one picture. Lambdas were chosen on other noises. The best baseline is the best of",
        "{DDIM, DPM-Solver, DPM-Solver++, UniPC} x {leading, trailing} x guidance",
        f"{{1, 2, {w + 1:g}}} *on the measured pictures themselves*, which favours the baseline.",
        "Intervals are 95 % paired bootstrap intervals.",
        "",
    ]


def _comparison_line(c: Comparison) -> str:
    lambdas = ", ".join(f"{value:g}" for value in c.composition["strengths"].values())
    how = f"{c.baseline['solver']}, {c.baseline['spacing']}, guidance {c.baseline['guidance']:g}"
    verdict = _verdict(c.low > 0) if c.evaluations in BEATEN_AT else "reported"
    return (
        f"| {c.seed} | {c.style} | {lambdas} | {c.evaluations} | {c.composition['joint_accuracy']:.3f} "
        f"| {c.baseline['joint_accuracy']:.3f} | {how} | {c.mean:+.3f} | {c.low:+.3f} to {c.high:+.3f} | {verdict} |"
    )


def _grid_lines(style: str, grids: Sequence[LambdaGrid]) -> list[str]:
    """One table: a row for each lambda_2, a column for each lambda_1."""
    mine = [grid.scores for grid in grids if grid.style == style]
    columns, lines = (sorted({pair[i] for pair in mine[0]}) for i in (0, 1))
    table = [[_mean(scores[first, second] for scores in mine) for first in columns] for second in lines]
    return [
        "",
        f"| {style}: lambda_2 \\ lambda_1 | " + " | ".join(f"{first:g}" for first in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {second:g} | " + " | ".join(f"{value:.3f}" for value in row) + " |"
            for second, row in zip(lines, table, strict=True)
        ),
    ]


def _grid_rows(grids: Sequence[LambdaGrid]) -> list[Row]:
    return [
        {"seed": grid.seed, "style": grid.style, "strengths": list(pair), "joint_accuracy": score}
        for grid in grids
        for pair, score in grid.scores.items()
    ]


def _endpoint_lines(rows: Sequence[Row]) -> list[str]:
    lines = []
    for style in sorted({row["style"] for row in rows}):
        mine = [row for row in rows if row["style"] == style]
        one_step = min(r["endpoint_error"] for r in mine if r["role"] == "baseline" and r["steps"] == 1)
        for steps in EVALUATIONS:
            lcm = _mean(r["joint_accuracy"] for r in mine if r["role"] == "composition" and _is(r, "lcm", steps))
            tcd = [r for r in mine if r["role"] == "composition" and _is(r, "tcd", steps)]
            joint, error = _mean(r["joint_accuracy"] for r in tcd), _mean(r["endpoint_error"] for r in tcd)
            lines.append(f"| {style} | {steps} | {lcm:.3f} | {joint:.3f} | {error:.3f} | {one_step:.3f} |")
    return lines


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"


def _strengths(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Style -> the lambdas of its first seed."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["role"] == "composition":
            found.setdefault(row["style"], list(row["strengths"].values()))
    return found


def _best_settings(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Solver -> evaluations -> the spacing and guidance with the best mean joint accuracy over seeds and styles."""
    scores: dict[tuple[str, int, str, float], list[float]] = defaultdict(list)
    for row in rows:
        if row["role"] == "baseline":
            scores[row["solver"], row["evaluations"], row["spacing"], row["guidance"]].append(row["joint_accuracy"])
    best: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for solver, evaluations, spacing, guidance in sorted(scores, key=lambda setting: np.mean(scores[setting])):
        best[solver][str(evaluations)] = {"spacing": spacing, "guidance": guidance}
    return {solver: dict(sorted(costs.items())) for solver, costs in sorted(best.items())}
