"""Writes one weight file of a baked base: sums where modules change, the base's own bytes everywhere else."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from blake3 import blake3
from torch import Tensor

from arithmetic.baking.bits import INTEGERS, Digits, low_digits
from arithmetic.baking.output import OutputFile, output_file
from arithmetic.baking.sheets import Entry, Sheet
from arithmetic.baking.sums import Bases, PartSum, part_sums, rounded
from arithmetic.errors import AlgebraError
from arithmetic.resources import Resources, done_in_order
from arithmetic.sources.source import Source
from arithmetic.weights import Weights
from arithmetic.weights.mapped import TORCH_DTYPES

RUN_BYTES = 64 << 20
"""What one task copies at most."""

KEPT_WHEN_CONVERTED = {2: torch.int16, 4: torch.int16, 8: torch.int32}
"""Bytes of the base's element -> the digits to keep where the output's dtype is another than the base's."""


@dataclass(frozen=True)
class Residue:
    """What gives one tensor of the base back beside the baked one: digits, or all its bits where those are less."""

    entry: Entry
    blake3: str
    kept: Digits | Tensor


Task = Callable[[], Residue | None]


def write_sheet(
    path: Path, sheet: Sheet, bases: Bases, source: Source | None, *, resources: Resources, keep_residue: bool
) -> Generator[tuple[int, Residue | None]]:
    """Create the file; yields (tensors written, residue) in their order. To be closed when it is left early.

    Raises:
        Overflow: a sum that the dtype of the output cannot hold.
        MissingModule, ShapeMismatch: as `part_sums`.
    """
    with output_file(path, sheet.size) as output:
        output.write(0, sheet.header)
        counted = list(_tasks(output, sheet, bases, source, keep_residue))
        done = 0
        with closing(done_in_order((task for _, task in counted), resources)) as residues:
            for (count, _), residue in zip(counted, residues, strict=True):
                done += count
                yield done, residue


def _tasks(
    output: OutputFile, sheet: Sheet, bases: Bases, source: Source | None, keep_residue: bool
) -> Iterator[tuple[int, Task]]:
    """(tensors, task) in the order of the file."""
    base = bases[0][1]
    for run, start in _runs(sheet):
        if run[0].is_changed:
            yield 1, partial(_write_sum, output, start, run[0], bases, source, keep_residue)
        else:
            yield len(run), partial(_write_copy, output, start, run, base)


def _runs(sheet: Sheet) -> Iterator[tuple[list[Entry], int]]:
    """(entries, start): each changed tensor by itself; unchanged ones together where they also lie so in the base."""
    run: list[Entry] = []
    begin = 0
    for entry, start in zip(sheet.entries, sheet.starts, strict=False):
        if run and not _continues(run, entry):
            yield run, begin
            run = []
        if not run:
            begin = start
        run.append(entry)
    if run:
        yield run, begin


def _continues(run: list[Entry], entry: Entry) -> bool:
    first, last = run[0], run[-1]
    return (
        not (last.is_changed or entry.is_changed)
        and last.file == entry.file
        and last.spec.end == entry.spec.start
        and entry.spec.end - first.spec.start <= RUN_BYTES
    )


def _write_copy(output: OutputFile, start: int, run: list[Entry], base: Weights) -> None:
    header = run[0].file.header
    first, count = run[0].spec.start, run[-1].spec.end - run[0].spec.start
    with run[0].file.path.open("rb", buffering=0) as file:
        output.copy(start, file.fileno(), header.data_start + first, count)
    output.send(start, count)


def _write_sum(
    output: OutputFile, start: int, entry: Entry, bases: Bases, source: Source | None, keep_residue: bool
) -> Residue | None:
    dtype = TORCH_DTYPES[entry.tag]
    position, residues = start, []
    for part in part_sums(bases, source, entry.parts, dtype):
        for first, end in part.blocks():
            result = rounded(part.block(first, end), dtype, part.part.module)
            position = output.write_tensor(position, result)
            if keep_residue:
                residues.append(_block_residue(part, result, first, end, entry))
    if position != start + entry.slot.size:
        raise AlgebraError(
            f"{entry.name}: holds more than {[part.module for part in entry.parts]}, which cannot be summed alone. "
            "Use a module table that has all modules of this tensor."
        )
    output.send(start, entry.slot.size)
    return _residue(entry, residues, bases[0][1]) if keep_residue else None


def predicted(part: PartSum, baked: Tensor, first: int, end: int, dtype: torch.dtype) -> Tensor:
    """About the base's rows `first` to `end`: the baked ones less dW, in the base's dtype."""
    total = baked.to(part.dtype, copy=True)
    part.addend.add(total, first, end, sign=-1.0)
    return total.to(dtype)


def _block_residue(part: PartSum, baked: Tensor, first: int, end: int, entry: Entry) -> Digits:
    exact = part.bases[0][1][first:end].contiguous()
    guess = predicted(part, baked, first, end, exact.dtype)
    kept = torch.int8 if entry.tag == entry.spec.dtype else KEPT_WHEN_CONVERTED[exact.element_size()]
    return low_digits(exact.flatten(), guess.flatten(), kept)


def _residue(entry: Entry, blocks: list[Digits], base: Weights) -> Residue:
    mapped = base.mapped(entry.file.path)
    digest = blake3(mapped.raw(entry.key)).hexdigest()
    digits = _joined(blocks)
    exact = mapped.tensor(entry.key)
    if digits.size >= exact.numel() * exact.element_size():
        return Residue(entry, digest, exact.flatten().view(INTEGERS[exact.element_size()]))
    return Residue(entry, digest, digits)


def _joined(blocks: list[Digits]) -> Digits:
    """The blocks of one tensor, positions counted from its beginning."""
    offsets = [0]
    for block in blocks:
        offsets.append(offsets[-1] + block.low.numel())
    low, value = torch.cat([block.low for block in blocks]), torch.cat([block.value for block in blocks])
    index = torch.cat([block.index + offset for block, offset in zip(blocks, offsets, strict=False)])
    return Digits(low, index.to(torch.int32) if low.numel() <= torch.iinfo(torch.int32).max else index, value)
