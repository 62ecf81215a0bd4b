"""Two vectors baked into a base: `python -m benchmarks.arithmetic_bake --rivals-python VENV/bin/python`.

The base is a diffusers folder with every tensor of SDXL's U-Net in fp16, 5.1 GB of random numbers in one file; it has
no text encoder, since the vectors reach none. Into it go two rank-64 fp16 LoRAs. Beside ours, in turn with it, `cp` of
the folder followed by sync. Ours is measured without hashes and with them; when it returns, what it wrote is on the
disk. All find base and vectors in the page cache, and before each the disk is left to finish what it was given.

diffusers does the same once: it loads the U-Net in fp16 and both LoRAs, set_adapters, fuse_lora, save_pretrained, sync.
Memory is the largest RssAnon of the process.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.arithmetic_inputs import Inputs, command_line, note, rounded, table_lines, versions, write_inputs
from benchmarks.subprocesses import Run, median, ours, rival, settle, shell
from benchmarks.synthetic import write_base
from formats import architecture_of_folder

TINY: Mapping[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (32, 32, 64),
    "attention_head_dim": (2, 2, 4),
    "cross_attention_dim": 32,
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "projection_class_embeddings_input_dim": 80,
    "addition_time_embed_dim": 8,
}
PLAIN, PROVED, COPY, RIVAL = "without hashes", "with hashes", "cp -r; sync", "diffusers fuse and save"
TIMES_THE_COPY = {PLAIN: 2.0, PROVED: 3.0}
MEMORY_LIMIT_MIB = 1500.0

Runs = dict[str, list[Run]]


def main() -> None:
    """Write the base and the vectors, take turns."""
    parser = command_line(__doc__, runs=3)
    parser.add_argument("--rivals-python", help="the interpreter of an environment that has diffusers")
    parser.add_argument("--rival-runs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        base = write_base(folder / "base", unet_config(tiny=options.tiny))
        inputs = write_inputs(folder, architecture_of_folder(base, "sdxl"), tiny=options.tiny)
        runs = measure(folder, base, inputs, options.runs)
        if options.rivals_python:
            runs[RIVAL] = [fuse(folder, base, inputs, options.rivals_python) for _ in range(options.rival_runs)]
        described = {**inputs.described(), "base_bytes": sum(path.stat().st_size for path in _files(base))}
    libraries = versions(*(run for each in runs.values() for run in each))
    note(options, {"versions": libraries, "figures": {**described, "runs": rounded(runs)}}, print_table)


def unet_config(*, tiny: bool = False) -> dict[str, Any]:
    """Of SDXL's U-Net, or of one of its shape with few channels."""
    from scripts.architecture_tables import SDXL_UNET

    return {**SDXL_UNET, **(TINY if tiny else {})}


def measure(folder: Path, base: Path, inputs: Inputs, runs: int) -> Runs:
    """Name -> its runs; the copy and ours take turns."""
    result = folder / "result"
    found: Runs = {COPY: [], PLAIN: [], PROVED: []}
    for _ in range(runs):
        settle(_files(base))
        found[COPY].append(shell(f"cp -r {base} {result}; sync"))
        shutil.rmtree(result)
        for name, proof in ((PLAIN, ()), (PROVED, ("--certify",))):
            settle([*inputs.paths, *_files(base)])
            command = ("bake", *inputs.arguments(), "--base", base, "--dtype", "fp16", "--out", result, *proof)
            found[name].append(ours(*command))
            shutil.rmtree(result)
    return found


def fuse(folder: Path, base: Path, inputs: Inputs, python: str) -> Run:
    """One run of diffusers."""
    result = folder / "result"
    settle([*inputs.paths, *_files(base)])
    run = rival(python, "diffusers", *inputs.arguments(), "--base", base, "--out", result)
    shutil.rmtree(result)
    return run


def print_table(document: Mapping[str, Any]) -> None:
    """Times beside the copy's and memory as a Markdown table."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    print(f"{document['machine']}, {libraries}\n")
    print(table_lines(list(_rows(document["figures"]))))


def _rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    copy = median(figures["runs"][COPY])
    yield f"{figures['base_bytes']:,} bytes: {COPY}", f"{copy:.2f} s", "", None
    for name, runs in figures["runs"].items():
        if name != COPY:
            seconds, limit = median(runs), TIMES_THE_COPY.get(name)
            shown = f"{seconds:.2f} s, {seconds / copy:.1f} x the copy"
            yield _named(name), shown, f"{limit:g} x" if limit else "", seconds <= limit * copy if limit else None
    for name, runs in figures["runs"].items():
        if name != COPY:
            peak, is_ours = median(runs, "peak_mib"), name in TIMES_THE_COPY
            target = f"{MEMORY_LIMIT_MIB:,.0f} MiB" if is_ours else ""
            yield f"{_named(name)}, RssAnon", f"{peak:,.0f} MiB", target, peak <= MEMORY_LIMIT_MIB if is_ours else None


def _named(name: str) -> str:
    return f"bake, {name}" if name in TIMES_THE_COPY else name


def _files(base: Path) -> list[Path]:
    return sorted(path for path in base.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
