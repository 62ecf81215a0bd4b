"""What the arithmetic's benchmarks have in common: their command line, their input files, and how results are noted."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.catalog import machine
from benchmarks.subprocesses import Run
from benchmarks.synthetic import Draw, adapted_modules, few_modules, write_vectors
from formats import Architecture, ModuleSpec

RANK = 64
TINY_RANK = 4
ALPHAS = (32.0, 8.0)
"""The second is PEFT's default, which published LCM-LoRAs probably carry."""

WEIGHTS = (1.0, 0.8)
DECAYS = {"Gaussian": 0.0, "decaying": 1.0}
"""Spectrum -> the power of i that column i of up is divided by."""


@dataclass(frozen=True)
class Inputs:
    """Vectors of one architecture and what they are multiplied by."""

    family: str
    paths: tuple[Path, ...]
    weights: tuple[float, ...]
    modules: Mapping[str, ModuleSpec]
    rank: int

    def arguments(self) -> list[object]:
        """The inputs and their weights, as every client takes them."""
        return ["--inputs", *self.paths, "--weights", *self.weights]

    def ours(self) -> list[object]:
        """The same with the table's name, as our client takes them."""
        return [*self.arguments(), "--architecture", self.family]

    def first(self, count: int) -> "Inputs":
        """The first `count` of them."""
        return replace(self, paths=self.paths[:count], weights=self.weights[:count])

    def write_modules(self, path: Path) -> Path:
        """Module -> shape as JSON, for clients that know no tables."""
        path.write_text(json.dumps({module: list(spec.shape) for module, spec in self.modules.items()}))
        return path

    def described(self) -> dict[str, Any]:
        """For the figures."""
        size = self.paths[0].stat().st_size
        return {"files": len(self.paths), "bytes": size, "modules": len(self.modules), "rank": self.rank}


def command_line(doc: str | None, *, runs: int) -> argparse.ArgumentParser:
    """The options of every script."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where files are written; default: the folder of temporary files")
    parser.add_argument("--runs", type=int, default=runs, help="of ours; the median counts")
    parser.add_argument("--tiny", action="store_true", help="one small module of each kind, rank 4: to see it run")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser


def write_inputs(
    folder: Path,
    table: Architecture,
    *,
    count: int = 2,
    spectrum: str = "Gaussian",
    alphas: tuple[float, ...] = ALPHAS,
    tiny: bool = False,
) -> Inputs:
    """`count` fp16 vectors in `folder`, one seed each; alphas and the lambdas 1 and 0.8 are dealt out in turn."""
    modules, rank = adapted_modules(table), TINY_RANK if tiny else RANK
    modules = few_modules(modules) if tiny else modules
    draws = [Draw(seed, rank, alphas[seed % len(alphas)], DECAYS[spectrum]) for seed in range(count)]
    paths = tuple(write_vectors(folder, table, modules, draws))
    weights = tuple(WEIGHTS[place % len(WEIGHTS)] for place in range(count))
    return Inputs(table.name, paths, weights, modules, rank)


def note(options: argparse.Namespace, document: dict[str, Any], table: Callable[[dict[str, Any]], None]) -> None:
    """Print the figures and write them down."""
    document = {"machine": machine(), **document}
    table(document)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def versions(*runs: Run) -> dict[str, str]:
    """Of every library that a run was made with; the runs' own entries are removed."""
    found: dict[str, str] = {}
    for run in runs:
        found |= run.pop("versions", {})
    return found


def rounded(figures: Any) -> Any:
    """All floats in them to milliseconds or thousandths of a MiB."""
    if isinstance(figures, Mapping):
        return {name: rounded(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [rounded(value) for value in figures]
    return round(figures, 3) if isinstance(figures, float) else figures


def table_lines(rows: Sequence[tuple[str, str, str, bool | None]]) -> str:
    """Rows of (measure, measured, target, whether it is met) as Markdown; bold is not met."""
    verdicts = {True: "met", False: "**not met**", None: ""}
    lines = ["| measure | measured | target | |", "|---|---|---|---|"]
    for name, measured, target, is_met in rows:
        shown = f"**{measured}**" if is_met is False else measured
        lines.append(f"| {name} | {shown} | {target} | {verdicts[is_met]} |")
    return "\n".join(lines)
