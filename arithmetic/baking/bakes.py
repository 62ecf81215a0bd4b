"""Writes a base with a sum in it, W' = sum_i c_i W_i + dW: streamed, proved by reading it back, renamed into place."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from arithmetic.baking.demands import check_places, check_work, input_records, touched_modules
from arithmetic.baking.folder import OtherFiles, other_files
from arithmetic.baking.output import copy_file, sync_files
from arithmetic.baking.proof import BakeCertificate, certificate_of, prove
from arithmetic.baking.residual import BaseRecord, ResidualWriter, residual_writer
from arithmetic.baking.sheets import Entry, Sheet, draw_sheets, indexes
from arithmetic.baking.sums import Bases
from arithmetic.baking.writing import write_sheet
from arithmetic.certificate import LOCKED_KEY, RECIPE_KEY, certificate_path
from arithmetic.errors import BoundExceeded
from arithmetic.files.staging import publish, staging_folder
from arithmetic.files.stream import write_text
from arithmetic.precision import Precision
from arithmetic.progress import Notify, Progress, watcher
from arithmetic.resources import DEFAULT_RESOURCES, Resources
from arithmetic.sources.source import Source
from arithmetic.weights import Weights, open_weights
from formats import file_sha256


def bake(
    bases: Bases,
    source: Source | None,
    path: Path | str,
    *,
    recipe: str = "",
    locked: str = "",
    dtype: Precision | str | None = None,
    shard_bytes: int | None = None,
    residual: Path | str | None = None,
    metadata: Mapping[str, str] | None = None,
    inputs: Sequence[Mapping[str, Any]] | None = None,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress | None = None,
    cancelled: Callable[[], object] | None = None,
) -> BakeCertificate:
    """Write sum_i c_i W_i + dW in the layout of the first base, with PATH.certificate.json beside it.

    Sums for 16-bit outputs are taken in float32, others in float64, and rounded once. What belongs to no module (VAE,
    position ids, averages of training) is the first base's, byte for byte, as are the other files of its folder.
    Whatever goes wrong, KeyboardInterrupt included, nothing is left behind.

    Args:
        bases: (coefficient, base) each; the coefficients add up to 1.
        source: dW; None for a sum of bases alone.
        path: a folder that does not exist yet for a base in a folder, a file for a base in one file. The shards of a
            single file lie beside it as PATH-00001-of-0000N, with PATH.index.json.
        recipe: the canonical text, for the header.
        locked: the same with digests for names.
        dtype: of the modules' weights; None keeps each as it is stored.
        shard_bytes: cut what is written into files of at most so many bytes.
        residual: where to write what `unbake` needs to give the base back.
        metadata: more entries for the header.
        inputs: records for the certificate; the bases' and the source's names by default.
        resources: threads.
        progress: called with the phase (writing, proving), what is done, and how much there is.
        cancelled: asked between tensors; a true answer stops the work.

    Raises:
        MissingModule: the sum reaches a module that a base lacks.
        ShapeMismatch: a delta that does not fit its module.
        Overflow: a sum that the output's dtype cannot hold.
        OutputConflict: `path` is an input, a folder that exists, or a shard that exists.
        BoundExceeded: what was read back is not the sum, or nothing changed.
        Cancelled: `cancelled` said so.
    """
    path, residual = Path(path), None if residual is None else Path(residual)
    notify = watcher(progress, cancelled, "tensors")
    said = {RECIPE_KEY: recipe, LOCKED_KEY: locked, **(metadata or {})}
    draft = drafted(bases, source, path, dtype, shard_bytes, {key: text for key, text in said.items() if text})
    check_work(bases, draft.changed, residual)
    check_places(path, residual, draft.sheets, bases)
    with ExitStack() as stack:
        stage = stack.enter_context(staging_folder(path))
        output, writer = stage / "output", None
        if residual is not None:
            kept = stack.enter_context(staging_folder(residual)) / "residual"
            writer = stack.enter_context(residual_writer(kept, draft.changed, draft.record, len(draft.names)))
        write(output, draft, resources, notify("writing"), writer)
        certificate = _proved(
            output,
            draft,
            resources,
            notify("proving"),
            recipe,
            locked,
            inputs or input_records(bases, source),
        )
        write_text(stage / "certificate", certificate.to_json())
        moves = {stage / "certificate": certificate_path(path)}
        if residual is not None and writer is not None:
            writer.finish(draft.record, {name: certificate.files[name] for name in draft.names})
            moves[kept] = residual
        publish(moves | draft.moves(output, path))
    return certificate


@dataclass(frozen=True)
class Draft:
    """A bake before its first byte: what is summed, and what goes into which file."""

    bases: Bases
    source: Source | None
    sheets: tuple[Sheet, ...]
    others: OtherFiles

    @property
    def base(self) -> Weights:
        """The base whose layout the output has."""
        return self.bases[0][1]

    @property
    def names(self) -> tuple[str, ...]:
        """The weight files of the output."""
        return tuple(sheet.name for sheet in self.sheets)

    @property
    def changed(self) -> tuple[Entry, ...]:
        """The tensors whose bytes change."""
        return tuple(entry for sheet in self.sheets for entry in sheet.entries if entry.is_changed)

    @cached_property
    def record(self) -> BaseRecord:
        """What a residual says of the base; reads its files to hash them."""
        headers = {}
        for file in self.base.files:
            with file.path.open("rb") as opened:
                headers[file.name] = opened.read(file.header.data_start)
        indexes = {name: (self.base.path / name).read_bytes() for name in self.others.indexes}
        if self.base.path.suffix == ".json":
            indexes[self.base.path.name] = self.base.path.read_bytes()
        sizes = {file.name: file.header.file_size for file in self.base.files}
        return BaseRecord(self.base.digests, sizes, headers, indexes)

    def opened(self, output: Path) -> Path:
        """What to open to read the weights back."""
        if self.base.is_folder:
            return output
        return output / (self.names[0] if len(self.names) == 1 else next(iter(indexes(self.sheets)))[0])

    def moves(self, output: Path, path: Path) -> dict[Path, Path]:
        """Staged -> final; an index of shards last."""
        if self.base.is_folder:
            return {output: path}
        names = [*self.names, *(name for name, _ in indexes(self.sheets))]
        return {output / name: path.with_name(name) for name in names}


def drafted(
    bases: Bases,
    source: Source | None,
    path: Path,
    dtype: Precision | str | None,
    shard_bytes: int | None,
    metadata: Mapping[str, str],
) -> Draft:
    """What a bake would write, from the headers alone."""
    base = bases[0][1]
    sheets = draw_sheets(
        base,
        touched_modules(bases, source),
        tag=None if dtype is None else Precision(dtype).tag,
        shard_bytes=shard_bytes,
        metadata=metadata,
        file_name=None if base.is_folder else path.name,
    )
    changed = {sheet.group for sheet in sheets if any(entry.is_changed for entry in sheet.entries)}
    return Draft(bases, source, tuple(sheets), other_files(base, changed))


def write(
    output: Path, draft: Draft, resources: Resources, notify: Notify, writer: ResidualWriter | None = None
) -> None:
    """Everything but the proof, into the new folder `output`."""
    output.mkdir()
    total = sum(len(sheet.entries) for sheet in draft.sheets)
    before = 0
    for sheet in draft.sheets:
        if sheet.is_copy:
            copy_file(sheet.entries[0].file.path, output / sheet.name)
        else:
            steps = write_sheet(
                output / sheet.name,
                sheet,
                draft.bases,
                draft.source,
                resources=resources,
                keep_residue=writer is not None,
            )
            with closing(steps):
                for done, residue in steps:
                    if residue is not None and writer is not None:
                        writer.add(residue)
                    notify(before + done, total)
        before += len(sheet.entries)
    for name, text in indexes(draft.sheets):
        write_text(output / name, text)
    for name in draft.others.copied:
        copy_file(draft.base.path / name, output / name)


def _proved(
    output: Path,
    draft: Draft,
    resources: Resources,
    notify: Notify,
    recipe: str,
    locked: str,
    inputs: Sequence[Mapping[str, Any]],
) -> BakeCertificate:
    """Read it all back while the system brings it to the disk."""
    with ThreadPoolExecutor(1) as beside:
        synced = beside.submit(sync_files, output)
        written = open_weights(draft.opened(output), draft.base.architecture, name="the output")
        proof = prove(written, draft.sheets, draft.bases, draft.source, resources=resources, notify=notify)
        others = {name: _same_digest(draft.base.path / name, output / name) for name in draft.others.copied}
        others |= {name: file_sha256(output / name) for name, _ in indexes(draft.sheets)}
        synced.result()
    return certificate_of(
        proof,
        dtypes=[entry.tag for sheet in draft.sheets for entry in sheet.entries if entry.parts],
        others=others,
        left_out=draft.others.left_out,
        recipe=recipe,
        locked=locked,
        inputs=inputs,
    )


def _same_digest(source: Path, copy: Path) -> str:
    """The SHA-256 that both have. Raises BoundExceeded where they differ."""
    own, copied = file_sha256(source), file_sha256(copy)
    if own != copied:
        raise BoundExceeded(f"{copy.name}: its copy differs from {source}: it changed meanwhile. Bake again.")
    return copied
