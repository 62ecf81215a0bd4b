"""How long it takes to say what a weight file is: `python -m benchmarks.identification`.

Each file is a real header over a hole, so that its size costs nothing. What is timed is `identify` without hashes: the
header is read and parsed, every module votes, and every alpha is read. `cpu` is the processor's time of one run: on a
machine that works for others too it is what can be compared. Beside it stands a bare `json.loads` of the same header,
which nothing that looks into one can beat by much; `first` is a fresh process, tables and dictionaries included.
"""

import argparse
import json
import math
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.catalog import machine
from formats import Layout, architecture, factor_keys, identify

LIMIT_MS = 10.0
LIMITED = "sdxl-kohya-sgm"
TRAINED = (".attentions.", ".self_attn.", ".mlp.")
METADATA = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": "32",
    "ss_network_alpha": "16",
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_tag_frequency": json.dumps({"train": {f"tag {number}": number for number in range(2000)}}),
    "modelspec.date": "2024-01-05T10:00:00",
}
FILES: Mapping[str, tuple[str, Layout, str]] = {
    "sd15-kohya": ("sd15", Layout.KOHYA, ""),
    LIMITED: ("sdxl", Layout.KOHYA_SGM, ""),
    "sdxl-diffusers": ("sdxl", Layout.DIFFUSERS, ""),
    "sdxl-lcm-lora": ("sdxl", Layout.KOHYA, "unet."),
}
"""Name -> family, layout, and how the adapted modules' names begin (all when empty)."""


def main() -> None:
    """Write the files, time them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = list(write_files(Path(folder)))
        figures = [measure(name, path, options.runs) for name, path in files]
    document = {"machine": machine(), "figures": figures}
    print_table(document)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def print_table(document: Mapping[str, Any]) -> None:
    """The figures as a Markdown table, in milliseconds; bold is beyond the limit."""
    print(f"{document['machine']}\n")
    print("| file | keys | median | p95 | best | cpu | json alone, cpu | first |")
    print("|---|---|---|---|---|---|---|---|")
    for figure in document["figures"]:
        median = f"{figure['median_ms']:.2f}"
        if figure["file"] == LIMITED and figure["median_ms"] > LIMIT_MS:
            median = f"**{median}**"
        rest = (f"{figure[name]:.2f}" for name in ("p95_ms", "best_ms", "cpu_ms", "json_cpu_ms", "first_ms"))
        print(f"| {figure['file']} | {figure['keys']:,} | {median} | {' | '.join(rest)} |")
    print(f"\nThe aim for {LIMITED} is {LIMIT_MS:g} ms.")


def write_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """One file of each sort: names and shapes of every adapted module, alphas with a value, weights as a hole."""
    for name, (family, layout, part) in FILES.items():
        table = architecture(family)
        tensors: dict[str, tuple[int, ...]] = {}
        for module, spec in table.modules.items():
            if module.startswith(part) and any(mark in module for mark in TRAINED):
                keys, (out, inside, *kernel) = factor_keys(layout, module, table), spec.shape
                tensors |= {keys.down: (32, inside, *kernel), keys.up: (out, 32, *(1 for _ in kernel))}
                tensors |= {} if keys.alpha is None else {keys.alpha: ()}
        yield name, _write(folder / f"{name}.safetensors", dict(sorted(tensors.items())))


def measure(name: str, path: Path, runs: int) -> dict[str, Any]:
    """The figures of one file, in milliseconds."""
    with path.open("rb") as file:
        text = file.read(int.from_bytes(file.read(8), "little")).decode()
    answer = partial(identify, path, hashes=False)
    found = answer()
    taken = sorted(_milliseconds(answer) for _ in range(runs))
    busy = sorted(_milliseconds(answer, time.process_time) for _ in range(runs))
    return {
        "file": name,
        "family": found.family.value,
        "keys": len(json.loads(text)),
        "header_bytes": len(text),
        "median_ms": statistics.median(taken),
        "p95_ms": taken[int(0.95 * (len(taken) - 1))],
        "best_ms": taken[0],
        "cpu_ms": statistics.median(busy),
        "json_cpu_ms": statistics.median(
            _milliseconds(partial(json.loads, text), time.process_time) for _ in range(runs)
        ),
        "first_ms": _first(path),
    }


def _write(path: Path, tensors: Mapping[str, tuple[int, ...]]) -> Path:
    header: dict[str, Any] = {"__metadata__": METADATA}
    position, alphas = 0, []
    for key, shape in tensors.items():
        end = position + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [position, end]}
        if key.endswith(".alpha"):
            alphas.append(position)
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
        for place in alphas:
            file.seek(8 + len(text) + place)
            file.write(struct.pack("<e", 16.0))
    return path


def _milliseconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    work()
    return (clock() - began) * 1e3


def _first(path: Path) -> float:
    """The first answer of a fresh process, its imports apart."""
    code = (
        "import sys, time; from formats import identify; began = time.perf_counter(); "
        "identify(sys.argv[1], hashes=False); print((time.perf_counter() - began) * 1e3)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
