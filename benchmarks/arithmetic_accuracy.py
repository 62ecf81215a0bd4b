"""How exact sums are: `python -m benchmarks.arithmetic_accuracy --rivals-python VENV/bin/python`.

Two rank-64 fp16 LoRAs of the modules that LCM-LoRA adapts are added with the weights 1 and 0.8 by each tool. Every
result is read back from its file and compared, module by module, with the sum of the inputs in float64: the worst
||result - sum|| / ||sum|| (Frobenius) is shown. The reader and the sums are numpy's, not ours.

Of PEFT: `add_weighted_adapter` on a tree of the base's true layers; svd is asked for the summed rank, where the answer
is exact, with svd_full_matrices=False (its default is killed at 24 GB). Of sd-mecha: its sum in float32, written as
dense deltas, and the same through `truncate_rank` at the summed rank; its LoRA extraction writes no tensor in 1.1.8.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arithmetic_inputs import ALPHAS, Inputs, command_line, note, table_lines, versions, write_inputs
from benchmarks.dense_deltas import Weights, relative_errors
from benchmarks.subprocesses import ours, rival
from formats import architecture

LIMITS = {"ours, fp32 file": 1e-6, "ours, fp16 file": 1e-3}
MECHA_NAMES = {"sd15": "sd1-kohya", "sdxl": "sdxl-kohya_but_diffusers"}
SLOW = ("PEFT svd", "sd-mecha truncate_rank")
"""What takes minutes; once an architecture's size is enough to see that they are exact."""


@dataclass(frozen=True)
class Case:
    """One pair of vectors, and the tools that are not asked."""

    family: str
    spectrum: str
    alphas: tuple[float, float]
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For the figures."""
        return f"{self.family}, {self.spectrum}, alphas {self.alphas[0]:g} and {self.alphas[1]:g}"


CASES = (
    Case("sd15", "Gaussian", (32.0, 32.0), SLOW),
    Case("sd15", "Gaussian", ALPHAS),
    Case("sd15", "decaying", ALPHAS, SLOW),
    Case("sdxl", "Gaussian", ALPHAS, SLOW),
)


def main() -> None:
    """Write the inputs, have each tool add them, compare."""
    parser = command_line(__doc__, runs=1)
    parser.add_argument("--rivals-python", help="the interpreter of an environment that has PEFT and sd-mecha")
    options = parser.parse_args()
    figures: list[dict[str, Any]] = []
    libraries: dict[str, str] = {}
    for case in CASES:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder, table = Path(name), architecture(case.family)
            inputs = write_inputs(folder, table, spectrum=case.spectrum, alphas=case.alphas, tiny=options.tiny)
            asked = works(folder, inputs, options.rivals_python)
            errors, used = measure(folder, inputs, {name: asked[name] for name in asked if name not in case.left_out})
        libraries |= used
        figures.append({"case": case.name, "modules": len(inputs.modules), "errors": errors})
    note(options, {"versions": libraries, "figures": figures}, print_table)


def measure(
    folder: Path, inputs: Inputs, asked: Mapping[str, tuple[Any, ...]]
) -> tuple[dict[str, float], dict[str, str]]:
    """Tool -> its worst error, and the versions of the tools. One result is on the disk at a time."""
    terms = [(weight, Weights(path)) for weight, path in zip(inputs.weights, inputs.paths, strict=True)]
    errors: dict[str, float] = {}
    libraries: dict[str, str] = {}
    for name, arguments in asked.items():
        result = folder / "result.safetensors"
        done = ours(*arguments, "--out", result) if name in LIMITS else rival(*arguments, "--out", result)
        libraries |= versions(done)
        found = result / "sum" if result.is_dir() else result
        errors |= relative_errors(terms, {name: Weights(found)}, list(inputs.modules))
        shutil.rmtree(result) if result.is_dir() else result.unlink()
    return errors, libraries


def works(folder: Path, inputs: Inputs, python: str | None) -> dict[str, tuple[Any, ...]]:
    """Tool -> what its client is asked for."""
    asked: dict[str, tuple[Any, ...]] = {
        f"ours, {dtype} file": ("compose", *inputs.ours(), "--dtype", dtype) for dtype in ("fp32", "fp16")
    }
    if python is None:
        return asked
    rank, modules = inputs.rank * len(inputs.paths), inputs.write_modules(folder / "modules.json")
    for kind in ("linear", "cat", "svd"):
        wanted = ("--modules", modules, "--type", kind, "--rank", rank)
        asked[f"PEFT {kind}"] = (python, "peft", *inputs.arguments(), *wanted)
    mecha = (python, "mecha", *inputs.arguments(), "--config", MECHA_NAMES[inputs.family])
    return asked | {"sd-mecha sum": mecha, "sd-mecha truncate_rank": (*mecha, "--rank", rank)}


def print_table(document: Mapping[str, Any]) -> None:
    """The worst errors as a Markdown table."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    print(f"{document['machine']}, {libraries}\n")
    print(table_lines(list(_rows(document))))


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    for figure in document["figures"]:
        for name, error in figure["errors"].items():
            limit = LIMITS.get(name)
            target = "" if limit is None else f"{limit:.0e}"
            yield (
                f"{figure['case']}: {name}",
                f"{error:.3f}" if error > 0.01 else f"{error:.1e}",
                target,
                None if limit is None else error <= limit,
            )


if __name__ == "__main__":
    main()
