"""What a bake has to fulfil before anything is written."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from arithmetic.baking.sheets import Entry, Sheet, indexes
from arithmetic.baking.sums import Bases
from arithmetic.errors import AlgebraError, MissingModule, OutputConflict
from arithmetic.sources.source import Source

TOLERANCE = 1e-9
"""How far from 1 the coefficients of the bases may add up to: decimals such as 0.7 + 0.3 in binary."""


def touched_modules(bases: Bases, source: Source | None) -> frozenset[str]:
    """The modules that the sum changes: the source's; with several bases, all that the first one has.

    Raises:
        AlgebraError: coefficients that do not add up to 1.
        MissingModule: a base lacks one of them, or has one that the first base lacks.
    """
    total = sum(coefficient for coefficient, _ in bases)
    if not math.isclose(total, 1.0, rel_tol=0.0, abs_tol=TOLERANCE):
        names = " and ".join(weights.name for _, weights in bases)
        raise AlgebraError(f"{names}: their coefficients add up to {total:g}, expected 1 for a base.")
    base = bases[0][1]
    touched = frozenset(source.modules if source is not None else ())
    if len(bases) > 1 or bases[0][0] != 1:
        touched |= base.modules.keys()
    for _, weights in bases:
        for module in sorted(touched):
            weights.place(module)
        strange = sorted(weights.modules.keys() - base.modules.keys())
        if strange:
            raise MissingModule(
                f"{base.name}: has no {strange[0]}, {weights.name} has ({len(strange)} such). "
                "Put the base that has all modules first, or sum bases of one kind."
            )
    return touched


def check_work(bases: Bases, changed: Collection[Entry], residual: Path | None) -> None:
    """Raises AlgebraError when nothing would change, or a residual is asked for that could not undo the sum."""
    if not changed:
        raise AlgebraError(f"{bases[0][1].name}: nothing would change. Add a vector, another base or a dtype.")
    if residual is not None and len(bases) > 1:
        raise AlgebraError(
            "A residual undoes the sum of one base and vectors, and this is a sum of several bases. "
            "Keep the bases, or bake without a residual."
        )


def check_places(path: Path, residual: Path | None, sheets: Sequence[Sheet], bases: Bases) -> None:
    """Raises OutputConflict for an output that is an input, lies within one, or would replace a folder or shard."""
    base = bases[0][1]
    inputs = {weights.path.resolve() for _, weights in bases}
    inputs |= {file.path.resolve() for _, weights in bases for file in weights.files}
    targets = [path] if base.is_folder else [path.with_name(sheet.name) for sheet in sheets]
    for target in [*targets, *([residual] if residual is not None else [])]:
        if inputs & {target.resolve(), *target.resolve().parents}:
            raise OutputConflict(f"{target}: is an input of the sum, or lies within one. Write somewhere else.")
        if target.is_dir() or (target == path and base.is_folder and path.exists()):
            raise OutputConflict(f"{target}: exists. A folder is never replaced: remove it or write somewhere else.")
    if residual is not None and residual.resolve() in {target.resolve() for target in targets}:
        raise OutputConflict(f"{residual}: is the output too. Write the residual somewhere else.")
    if not base.is_folder and len(sheets) > 1:
        shards = [*targets, *(path.with_name(name) for name, _ in indexes(sheets))]
        taken = [shard for shard in shards if shard.exists()]
        if taken:
            raise OutputConflict(f"{taken[0]}: exists. Shards are never replaced: remove them or write somewhere else.")


def input_records(bases: Bases, source: Source | None) -> list[dict[str, Any]]:
    """What the sum was made of, as far as is known without reading more: names, coefficients, known digests."""
    records: list[dict[str, Any]] = [
        {"name": weights.name, "weight": coefficient, "files": sorted(file.name for file in weights.files)}
        for coefficient, weights in bases
    ]
    return records if source is None else [*records, {"name": source.name, "modules": len(source.modules)}]
