"""Two vectors into one of their rank: `python -m benchmarks.arithmetic_recompression --rivals-python VENV/bin/python`.

Two rank-64 fp16 LoRAs become one of rank 64, in fp32. Ours is timed from file to file, without hash and certificate and
with both; PEFT's svd by its merge alone, sd-mecha by its merge, which reads and writes as it goes. The rivals work on
SD-1.5 only, where PEFT's svd takes minutes already, and take turns with ours.

Of PEFT: `add_weighted_adapter(combination_type="svd", svd_rank=64, svd_full_matrices=False)` on a tree of the base's
true layers; with its default, full_matrices=True, it is killed at 24 GB and was not run. Of sd-mecha: the sum of both
as deltas and `truncate_rank(rank=64)`, written as dense float32 deltas; its LoRA extraction computes the same SVD, but
writes no tensor in 1.1.8.

How good the answers are is computed from the files in float64 by numpy: the error beyond the best answer of that rank
(Eckart and Young), in the worst module.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.arithmetic_accuracy import MECHA_NAMES
from benchmarks.arithmetic_inputs import Inputs, command_line, note, rounded, table_lines, versions, write_inputs
from benchmarks.dense_deltas import Weights, excess_errors
from benchmarks.subprocesses import Run, counted, median, ours, rival, settle
from formats import architecture

TIMES_FASTER = 40.0
SDXL_LIMIT_S = 15.0
EXCESS_LIMIT = 1e-4
SPECTRUM = "decaying"
PROVED = "ours, hash and certificate"
OURS = {"ours": (), PROVED: ("--certify",)}

Runs = dict[str, list[Run]]


def main() -> None:
    """Both families, and the rivals on the first."""
    parser = command_line(__doc__, runs=5)
    parser.add_argument("--rivals-python", help="the interpreter of an environment that has PEFT and sd-mecha")
    parser.add_argument("--rival-runs", type=int, default=1)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    libraries: dict[str, str] = {}
    for family in ("sd15", "sdxl"):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            inputs = write_inputs(Path(folder), architecture(family), spectrum=SPECTRUM, tiny=options.tiny)
            runs, quality = measure(Path(folder), inputs, options)
            libraries |= versions(*(run for each in runs.values() for run in each))
            figures[family] = {**inputs.described(), "runs": rounded(runs), "quality": quality}
    note(options, {"versions": libraries, "spectrum": SPECTRUM, "figures": figures}, print_table)


def measure(folder: Path, inputs: Inputs, options: argparse.Namespace) -> tuple[Runs, dict[str, Any]]:
    """Name -> its runs, rivals between ours; and how good each name's first answer is."""
    runs: Runs = {}
    quality: dict[str, Any] = {}
    clients = rival_clients(folder, inputs, options.rivals_python)
    for number in range(max(options.runs, options.rival_runs)):
        for name, arguments in OURS.items():
            if number < options.runs:
                command = ("compose", *inputs.ours(), "--rank", inputs.rank, *arguments)
                _once(name, runs, quality, inputs, folder, lambda out, command=command: ours(*command, "--out", out))
        for name, client in clients.items():
            if number < options.rival_runs:
                _once(name, runs, quality, inputs, folder, lambda out, client=client: rival(*client, "--out", out))
    return runs, quality


def rival_clients(folder: Path, inputs: Inputs, python: str | None) -> dict[str, tuple[Any, ...]]:
    """Rival -> what its client is asked for; none for SDXL."""
    if python is None or inputs.family != "sd15":
        return {}
    given, modules = (*inputs.arguments(), "--rank", inputs.rank), inputs.write_modules(folder / "modules.json")
    return {
        "PEFT svd": (python, "peft", *given, "--modules", modules, "--type", "svd"),
        "sd-mecha truncate_rank": (python, "mecha", *given, "--config", MECHA_NAMES[inputs.family]),
    }


def _once(name: str, runs: Runs, quality: dict[str, Any], inputs: Inputs, folder: Path, work: Any) -> None:
    """One run in a settled machine; what the first one wrote is judged."""
    settle(inputs.paths)
    result = folder / "result.safetensors"
    runs.setdefault(name, []).append(work(result))
    if name not in quality:
        found = Weights(result / "sum" if result.is_dir() else result)
        if found.largest_rank(list(inputs.modules)) > inputs.rank:
            raise SystemExit(f"{name}: the result's rank is {found.largest_rank(list(inputs.modules))}")
        terms = [(weight, Weights(path)) for weight, path in zip(inputs.weights, inputs.paths, strict=True)]
        quality |= excess_errors(terms, {name: found}, list(inputs.modules), inputs.rank)
    shutil.rmtree(result) if result.is_dir() else result.unlink()


def print_table(document: Mapping[str, Any]) -> None:
    """Times, memory and errors as a Markdown table."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    print(f"{document['machine']}, {libraries}; factors of {document['spectrum']} spectrum\n")
    print(table_lines([row for family in document["figures"] for row in _rows(family, document["figures"][family])]))


def _rows(family: str, figure: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    case = f"{family}, 2 x r{figure['rank']} -> r{figure['rank']}"
    fastest = median(figure["runs"]["ours"])
    for name, runs in figure["runs"].items():
        seconds, is_ours = median(runs), name in OURS
        limit = SDXL_LIMIT_S if family == "sdxl" and is_ours else None
        target = "" if limit is None else f"{limit:g} s"
        alone = f", the merge alone {median(runs, 'merge_s'):.1f} s" if "merge_s" in runs[0] else ""
        measured = f"{seconds:.2f} s ({counted(runs)}){alone}; RssAnon {median(runs, 'peak_mib'):,.0f} MiB"
        yield f"{case}: {name}", measured, target, None if limit is None else seconds <= limit
        if not is_ours:
            ratio = median(runs, "merge_s" if alone else "seconds") / fastest
            is_met = ratio >= TIMES_FASTER if name == "PEFT svd" else None
            yield (
                f"{case}: {name} / ours",
                f"{ratio:.1f} x",
                f"{TIMES_FASTER:g} x" if is_met is not None else "",
                is_met,
            )
    for name, quality in figure["quality"].items():
        is_met = quality["excess"] <= EXCESS_LIMIT if name in OURS else None
        shown = f"{quality['excess']:.1e} (error {quality['error']:.3f})"
        yield f"{case}: {name}, beyond the optimum", shown, f"{EXCESS_LIMIT:.0e}" if is_met is not None else "", is_met


if __name__ == "__main__":
    main()
