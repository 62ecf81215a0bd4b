"""Exact sums of SDXL vectors from file to file, and their memory: `python -m benchmarks.arithmetic_composition`.

Two rank-64 fp16 LoRAs of 394 MB each become one fp16 file of rank 128. Beside it, in turn with it, `cat a b > c; sync`:
what it costs to read as many bytes and bring them to the disk. Ours is measured without hash and certificate, and with
both: the digests of both inputs and of the output, and every module of the written file proved against the inputs. All
find the inputs in the page cache, and before each the disk is left to finish what it was given.

Memory is the largest RssAnon of a process that composes 2, 4, 8 and 16 such files, certificate included, less what that
process held when torch and everything else was imported.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.arithmetic_inputs import Inputs, command_line, note, rounded, table_lines, versions, write_inputs
from benchmarks.subprocesses import Run, median, ours, settle, shell
from formats import architecture

COUNTS = (2, 4, 8, 16)
FAMILY = "sdxl"
PLAIN, PROVED, COPY = "without hash and certificate", "with both", "cat; sync"
TIMES_THE_COPY = {PLAIN: 2.0, PROVED: 10.0}
MEMORY_LIMIT_MIB = 1000.0
FLATNESS = 1.25
"""At most so many times the memory of the fewest inputs counts as flat."""

Runs = dict[str, list[Run]]


def main() -> None:
    """Write the vectors, time the sum of two, weigh the sums of more."""
    parser = command_line(__doc__, runs=5)
    parser.add_argument(
        "--counts", nargs="*", type=int, default=COUNTS, help="of inputs, for memory; none: not weighed"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        inputs = write_inputs(folder, architecture(FAMILY), count=max([2, *options.counts]), tiny=options.tiny)
        runs = time_two(folder, inputs.first(2), options.runs)
        weighed = {str(count): weigh(folder, inputs.first(count)) for count in options.counts}
        described = inputs.described()
    libraries = versions(*(run for each in runs.values() for run in each), *weighed.values())
    figures = {**described, "runs": rounded(runs), "memory": rounded(weighed)}
    note(options, {"versions": libraries, "figures": figures}, print_table)


def time_two(folder: Path, inputs: Inputs, runs: int) -> Runs:
    """Name -> its runs; the copy, the sum and the proved sum take turns."""
    result = folder / "result.safetensors"
    found: Runs = {COPY: [], PLAIN: [], PROVED: []}
    for _ in range(runs):
        settle(inputs.paths)
        found[COPY].append(shell(f"cat {' '.join(map(str, inputs.paths))} > {result}; sync"))
        result.unlink()
        for name, proof in ((PLAIN, ()), (PROVED, ("--certify",))):
            found[name].append(compose(inputs, result, *proof))
    return found


def weigh(folder: Path, inputs: Inputs) -> Run:
    """One sum of all of `inputs`, proved."""
    return compose(inputs, folder / "result.safetensors", "--certify")


def compose(inputs: Inputs, result: Path, *proof: str) -> Run:
    """One run of ours, whose result is removed."""
    settle(inputs.paths)
    run = ours("compose", *inputs.ours(), "--dtype", "fp16", "--out", result, *proof)
    result.unlink()
    return run


def print_table(document: Mapping[str, Any]) -> None:
    """Times beside the copy's and memory as a Markdown table."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    print(f"{document['machine']}, {libraries}\n")
    print(table_lines([*_times(document["figures"]), *_memory(document["figures"])]))


def _times(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    copy = median(figures["runs"][COPY])
    yield f"2 files of {figures['bytes']:,} bytes: {COPY}", f"{copy:.2f} s", "", None
    for name, limit in TIMES_THE_COPY.items():
        seconds = median(figures["runs"][name])
        yield (
            f"exact sum, {name}",
            f"{seconds:.2f} s, {seconds / copy:.1f} x the copy",
            f"{limit:g} x",
            seconds <= limit * copy,
        )


def _memory(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    above = {count: run["peak_mib"] - run["before_mib"] for count, run in figures["memory"].items()}
    for count, mib in above.items():
        before = figures["memory"][count]["before_mib"]
        shown = f"{mib:,.0f} MiB above {before:,.0f}"
        yield f"RssAnon, {count} inputs", shown, f"{MEMORY_LIMIT_MIB:,.0f} MiB", mib <= MEMORY_LIMIT_MIB
    if len(above) > 1:
        first, *_, last = above.values()
        yield (
            "RssAnon, most inputs / fewest",
            f"{last / first:.2f} x",
            f"flat: {FLATNESS:g} x",
            last <= FLATNESS * first,
        )


if __name__ == "__main__":
    main()
