"""How fast files are taken in: `python -m benchmarks.intake --folder DISK`.

One big file: the import of a random safetensors file, beside `cp` of it followed by one pass of hashlib's SHA-256. Both
find the file in the page cache, and before each the disk is left to finish what it was given. `cp` does not wait for
the disk; an import does, and `cp` followed by fsync stands beside it too. An import computes what the catalog is asked
by: SHA-256 of the file and of its data, BLAKE3 of the file and of every tensor, CRC32. Peak memory is that of a fresh
process, as Linux counts it, and a file an eighth as large is imported as well: what the size costs is the difference.

Many small files: a library of LoRAs, no two alike, scanned for the first time and, unchanged, again.

`import registry`: its time in fresh processes, none of which may load torch.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.catalog import machine
from formats import Layout, architecture, factor_keys
from registry import Registry
from workbench.intake.library import import_folder

TENSORS = 64
"""Of the big file."""

MODULES = 16
RANK = 4
A_FOLDER = 100
"""Of the small files: adapted modules, their rank, files in one folder."""

CHUNK = 16 << 20
TIME_LIMIT = 0.7
RESCAN_LIMIT_S = 3.0
START_LIMIT_S = 0.7

IMPORT = """
import json, sys, time
from pathlib import Path
from registry import Registry
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
with Registry.open(sys.argv[2]) as registry:
    before, began, busy = peak(), time.perf_counter(), time.process_time()
    registry.add(sys.argv[1], kind="other")
    print(json.dumps([time.perf_counter() - began, time.process_time() - busy, before, peak()]))
"""

START = """
import sys, time
began = time.perf_counter()
import registry
print(time.perf_counter() - began)
sys.exit("torch" in sys.modules and "import registry loads torch")
"""


def main() -> None:
    """Measure, print, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where files are written; default: the folder of temporary files")
    parser.add_argument("--bytes", type=int, default=5_000_000_000, help="size of the big file; 0: none")
    parser.add_argument("--files", type=int, default=50_000, help="small files; 0: none")
    parser.add_argument("--runs", type=int, default=3, help="of everything but the first scan; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "machine": machine(),
        "start": measure_start(options.runs),
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.bytes:
            document["big_file"] = measure_big_file(Path(folder), options.bytes, options.runs, options.seed)
        if options.files:
            document["library"] = measure_library(Path(folder), options.files, options.runs, options.seed)
    print_table(document)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def measure_start(runs: int) -> dict[str, float]:
    """Seconds of `import registry` in fresh processes; the very first one, which may compile, does not count."""
    taken = [float(_python(START)) for _ in range(runs + 1)][1:]
    return {"median_s": statistics.median(taken), "worst_s": max(taken)}


def measure_big_file(folder: Path, size: int, runs: int, seed: int) -> dict[str, float]:
    """Seconds of each way with the same file, and what the import's memory is."""
    source = write_big_file(folder / "big.safetensors", size, seed)
    small = write_big_file(folder / "small.safetensors", size // 8, seed + 1)
    copies = [time_copy(source, folder / "copy") for _ in range(runs)]
    imports = [time_import(source, folder) for _ in range(runs)]
    figures = {
        "bytes": source.stat().st_size,
        **{name: statistics.median(copy[name] for copy in copies) for name in copies[0]},
        "import_s": statistics.median(one["seconds"] for one in imports),
        "import_cpu_s": statistics.median(one["cpu_s"] for one in imports),
        "peak_mib": statistics.median(one["peak_mib"] for one in imports),
        "before_mib": statistics.median(one["before_mib"] for one in imports),
        "peak_of_an_eighth_mib": time_import(small, folder)["peak_mib"],
    }
    source.unlink()
    small.unlink()
    plain = figures["cp_s"] + figures["hashlib_s"]
    return figures | {
        "speed_beside_cp_and_hashlib": plain / figures["import_s"],
        "speed_beside_durable_cp_and_hashlib": (plain + figures["fsync_s"]) / figures["import_s"],
    }


def time_copy(source: Path, target: Path) -> dict[str, float]:
    """Seconds of `cp`, of one SHA-256 pass over the source, and of making the copy durable."""
    warm(source)
    moments = [time.perf_counter()]
    subprocess.run(["cp", str(source), str(target)], check=True)
    moments.append(time.perf_counter())
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    moments.append(time.perf_counter())
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    moments.append(time.perf_counter())
    target.unlink()
    spent = (after - before for before, after in pairwise(moments))
    return dict(zip(("cp_s", "hashlib_s", "fsync_s"), spent, strict=True))


def time_import(source: Path, folder: Path) -> dict[str, float]:
    """Seconds of an import into a new registry, in a process of its own, and that process's memory."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        Registry.open(home).close()
        warm(source)
        seconds, busy, before, peak = json.loads(_python(IMPORT, source, home))
    return {"seconds": seconds, "cpu_s": busy, "before_mib": before / 1024, "peak_mib": peak / 1024}


def measure_library(folder: Path, files: int, runs: int, seed: int) -> dict[str, float]:
    """The rate of a first scan, and seconds of the scans after it, of which none may find anything new."""
    library = folder / "library"
    size = write_library(library, files, seed)
    os.sync()
    with Registry.open(folder / "home") as registry:
        began, busy = time.perf_counter(), time.process_time()
        report = import_folder(registry, library)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        if len(report.imported) != files or report.left:
            raise SystemExit(f"{len(report.imported):,} of {files:,} files imported; left: {report.left[:3]}")
        again = [_rescan(registry, library, files) for _ in range(runs)]
    return {
        "files": files,
        "bytes": size,
        "first_scan_s": seconds,
        "files_a_second": files / seconds,
        "cpu_ms_a_file": busy / files * 1e3,
        "rescan_s": statistics.median(again),
    }


def write_big_file(path: Path, size: int, seed: int) -> Path:
    """A safetensors file of about `size` random bytes."""
    part = max(4, size // TENSORS // 4 * 4)
    starts = range(0, TENSORS * part, part)
    tensors = {
        f"layer.{start // part}.weight": {"dtype": "F32", "shape": [part // 4], "data_offsets": [start, start + part]}
        for start in starts
    }
    draw, left = random.Random(seed), TENSORS * part
    with path.open("wb") as file:
        file.write(_header(tensors))
        while left:
            file.write(draw.randbytes(min(CHUNK, left)))
            left -= min(CHUNK, left)
    return path


def write_library(folder: Path, files: int, seed: int) -> int:
    """LoRAs of SD-1.5, no two alike, A_FOLDER in a folder; the size of one."""
    table = architecture("sd15")
    adapted = [module for module in table.modules if module.startswith("unet.") and ".attn" in module][:MODULES]
    tensors: dict[str, Any] = {}
    position = 0
    for module in adapted:
        keys, (out, inside, *_) = factor_keys(Layout.KOHYA, module, table), table.modules[module].shape
        for key, shape in ((keys.down, [RANK, inside]), (keys.up, [out, RANK])):
            end = position + 2 * shape[0] * shape[1]
            tensors[key] = {"dtype": "F16", "shape": shape, "data_offsets": [position, end]}
            position = end
    header = _header({"__metadata__": {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK)}, **tensors})
    draw = random.Random(seed)
    for number in range(files):
        path = folder / f"{number // A_FOLDER:04d}" / f"style-{number:06d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header + draw.randbytes(position))
    return len(header) + position


def warm(path: Path) -> None:
    """Let the disk finish what it was given, then have all of a file in the page cache."""
    os.sync()
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass


def print_table(document: Mapping[str, Any]) -> None:
    """The figures as Markdown tables, beside what they should be; bold misses it."""
    print(f"{document['machine']}\n\n| measure | measured | aim |\n|---|---|---|")
    for name, measured, aim, is_met in [*_big_file(document), *_library(document), *_start(document)]:
        print(f"| {name} | {measured if is_met else f'**{measured}**'} | {aim} |")


def _big_file(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    if big := document.get("big_file"):
        plain = f"{big['cp_s']:.2f} + {big['hashlib_s']:.2f} s"
        yield f"{big['bytes']:,} bytes: cp + one hashlib pass", plain, "", True
        yield "fsync of the copy", f"{big['fsync_s']:.2f} s", "", True
        yield "import, durable", f"{big['import_s']:.2f} s ({big['import_cpu_s']:.2f} s of processor)", "", True
        share = 1 / big["speed_beside_cp_and_hashlib"]
        yield "import / (cp + hashlib)", f"{share:.2f} x the time", f"{TIME_LIMIT} x", share <= TIME_LIMIT
        share = 1 / big["speed_beside_durable_cp_and_hashlib"]
        yield "import / (cp + fsync + hashlib)", f"{share:.2f} x the time", "", True
        eighth = big["peak_of_an_eighth_mib"]
        memory = f"{big['peak_mib']:.0f} MiB, {big['before_mib']:.0f} before; {eighth:.0f} for an eighth of the bytes"
        yield "peak memory", memory, "constant", big["peak_mib"] < 1.1 * eighth


def _library(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    if library := document.get("library"):
        files = f"{library['files']:,} LoRAs of {library['bytes']:,} bytes"
        rate = f"{library['files_a_second']:.0f} files/s ({library['cpu_ms_a_file']:.1f} ms of processor each)"
        yield f"{files}: first scan", rate, "", True
        again = library["rescan_s"]
        yield f"{files}: re-scan", f"{again:.2f} s", f"{RESCAN_LIMIT_S:g} s", again <= RESCAN_LIMIT_S


def _start(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    median = document["start"]["median_s"]
    yield "import registry, without torch", f"{median:.2f} s", f"{START_LIMIT_S} s", median <= START_LIMIT_S


def _rescan(registry: Registry, library: Path, files: int) -> float:
    began = time.perf_counter()
    report = import_folder(registry, library)
    seconds = time.perf_counter() - began
    if report.unchanged != files:
        raise SystemExit(f"{report.unchanged:,} of {files:,} files unchanged, although none was touched")
    return seconds


def _header(entries: Mapping[str, Any]) -> bytes:
    text = json.dumps(entries, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text


def _python(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
