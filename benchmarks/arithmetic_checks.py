"""What is known of vectors before they are added: `python -m benchmarks.arithmetic_checks`.

On rank-64 fp16 LoRAs of SDXL, 394 MB each, in the page cache: the exact interference of a pair, which reads every
factor; the verdict on a sum of five registered vectors, whose norms and finiteness were computed when they were
imported, so that no tensor is read; and the header findings of a sum of five files that no registry knows. Each in a
fresh process, its imports apart.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.arithmetic_inputs import Inputs, command_line, note, rounded, table_lines, versions, write_inputs
from benchmarks.subprocesses import Run, counted, median, ours, settle
from formats import architecture

FAMILY = "sdxl"
VECTORS = 5
INTERFERENCE, REGISTERED, UNREGISTERED = "interference of a pair", "verdict, 5 registered", "header findings, 5 files"
LIMITS_S = {INTERFERENCE: 3.0, REGISTERED: 1.0, UNREGISTERED: 2.0}


def main() -> None:
    """Write the vectors, import them, ask."""
    parser = command_line(__doc__, runs=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        inputs = write_inputs(folder, architecture(FAMILY), count=VECTORS, tiny=options.tiny)
        runs = measure(inputs, works(inputs, register(folder, inputs)), options.runs)
        described = inputs.described()
    libraries = versions(*(run for each in runs.values() for run in each))
    note(options, {"versions": libraries, "figures": {**described, "runs": rounded(runs)}}, print_table)


def register(folder: Path, inputs: Inputs) -> Path:
    """A registry that holds the vectors by the names of their files. Raises SystemExit where one was not measured."""
    from registry import Registry
    from workbench.intake.importing import import_file

    home = folder / "home"
    with Registry.open(home) as registry:
        for path in inputs.paths:
            version = import_file(registry, path, kind="style", name=path.stem)
            if registry.measurements.of(version) is None:
                raise SystemExit(f"{version.ref}: was imported and not measured")
    return home


def works(inputs: Inputs, home: Path) -> dict[str, tuple[object, ...]]:
    """Measure -> what our client is asked for."""
    names = [path.stem for path in inputs.paths]
    return {
        INTERFERENCE: ("interfere", *inputs.first(2).ours()),
        REGISTERED: ("judge", "--home", home, "--recipe", _sum(inputs, names)),
        UNREGISTERED: ("judge-headers", "--recipe", _sum(inputs, [f'"{path}"' for path in inputs.paths])),
    }


def measure(inputs: Inputs, asked: Mapping[str, tuple[object, ...]], runs: int) -> dict[str, list[Run]]:
    """Measure -> its runs, which take turns."""
    found: dict[str, list[Run]] = {name: [] for name in asked}
    for _ in range(runs):
        for name, arguments in asked.items():
            settle(inputs.paths)
            found[name].append(ours(*arguments))
    return found


def print_table(document: Mapping[str, Any]) -> None:
    """The times as a Markdown table."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    print(f"{document['machine']}, {libraries}\n")
    print(table_lines(list(_rows(document["figures"]))))


def _rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    for name, runs in figures["runs"].items():
        seconds, limit = median(runs), LIMITS_S[name]
        yield name, f"{seconds:.2f} s ({counted(runs)})", f"{limit:g} s", seconds <= limit


def _sum(inputs: Inputs, names: list[str]) -> str:
    return " + ".join(f"{weight}*{name}" for weight, name in zip(inputs.weights, names, strict=True))


if __name__ == "__main__":
    main()
