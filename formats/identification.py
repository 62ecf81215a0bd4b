"""What a file or folder is: family, adapter kind, layout, variant, prediction type, sizes and hashes, with evidence."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from formats.adapter_files import DIFFUSERS_WEIGHTS, PEFT_WEIGHTS, AdapterFile, open_adapter, weights_in
from formats.architecture import SHIPPED, Architecture, architecture
from formats.bases import identify_checkpoint, identify_folder, identify_unet, is_unet, unet_folder_headers
from formats.checkpoints import CHECKPOINT_PREFIXES, kin_of_checkpoint, unet_prefix
from formats.digests import digest
from formats.dtypes import dtype_name
from formats.errors import HeaderError
from formats.families import distinct
from formats.findings import Finding, Identification, Kind, nothing
from formats.folders import is_base_folder
from formats.header import Header
from formats.marks import Marks, read_marks
from formats.matching import Ballot
from formats.opaque import has_pickle_suffix, pickled_content
from formats.vectors import identify_adapter, is_adapter


def identify(
    path: Path | str, *, architectures: Iterable[Architecture] | None = None, hashes: bool = True
) -> Identification:
    """What the file, PEFT folder or diffusers base folder `path` is, from its headers alone; no weight is loaded.

    `architectures` are the tables to compare with, the shipped ones when None; of equal tables the first counts. With
    `hashes` a file is read once to the end for its digests, without it only the header and the alphas are read. A
    pickle is known by its content under any name, is never opened, and is `opaque`.
    Raises HeaderError for an unreadable file and FolderError for a folder that is neither a base nor an adapter.
    """
    path = Path(path)
    tables = distinct(map(architecture, SHIPPED) if architectures is None else architectures)
    if path.is_dir() and is_base_folder(path):
        return identify_folder(path, tables)
    if path.is_dir() and (headers := unet_folder_headers(path)):
        return identify_unet(headers, path, tables, hashes=hashes)
    if path.is_dir():
        path = _pickled_weights(path) or weights_in(path)
    try:
        opened = open_adapter(path)
    except HeaderError:
        content = pickled_content(path)
        if content is None:
            raise
        return _opaque(path, content, hashes=hashes)
    return _identify_file(opened, tables, hashes=hashes)


def _identify_file(opened: AdapterFile, tables: tuple[Architecture, ...], *, hashes: bool) -> Identification:
    """The facts of one safetensors file. The marks of a whole checkpoint count before those of an adapter."""
    header = opened.header
    marks = read_marks(header)
    if marks.strange and unet_prefix(header) is not None:
        checkpoint = identify_checkpoint(header, marks, tables, hashes=hashes)
        if checkpoint is not None:
            return checkpoint
    if marks.strange and is_unet(header):
        return identify_unet([header], header.path, tables, hashes=hashes)
    ballot = Ballot(marks, header, tables)
    if is_adapter(ballot) and not _is_checkpoint(marks):
        return identify_adapter(opened, marks, ballot, hashes=hashes)
    return _identify_other(header, tables, hashes=hashes)


def _is_checkpoint(marks: Marks) -> bool:
    return any(key.startswith(CHECKPOINT_PREFIXES) for key in marks.strange)


def _identify_other(header: Header, tables: tuple[Architecture, ...], *, hashes: bool) -> Identification:
    """A safetensors file that is neither an adapter nor a base."""
    reasons = tuple(_why_neither(header, tables))
    elements: Counter[str] = Counter()
    for spec in header.tensors.values():
        elements[spec.dtype] += spec.elements
    return _nothing(header.path, "unknown", reasons, elements, hashes=hashes)


def _opaque(path: Path, content: str, *, hashes: bool) -> Identification:
    """A pickle: what it holds is not looked at."""
    named = "" if has_pickle_suffix(path) else f", whatever the name {path.name!r} says"
    reason = f"{content}{named}: opening it can run code, so it is kept closed. Convert it to safetensors to use it"
    return _nothing(path, "opaque", (reason,), Counter(), hashes=hashes)


def _nothing(
    path: Path, kind: Kind, reasons: tuple[str, ...], elements: Counter[str], *, hashes: bool
) -> Identification:
    unknown = nothing(reasons[0])
    return Identification(
        kind=kind,
        family=Finding(unknown.value, unknown.confidence, reasons),
        adapter=unknown,
        layout=unknown,
        rank=None,
        ranks={},
        alpha=None,
        dtype=dtype_name(elements),
        modules=0,
        parameters=elements.total(),
        hashes=digest(path) if hashes else None,
        architecture=None,
        warnings=reasons[:1],
        variant=unknown,
        prediction_type=unknown,
    )


def _why_neither(header: Header, tables: tuple[Architecture, ...]) -> Iterator[str]:
    prefix = next((one for one in CHECKPOINT_PREFIXES if any(key.startswith(one) for key in header.tensors)), None)
    if prefix is not None:
        yield f"a whole checkpoint ({prefix}*) of no known family, not an adapter: convert it to a diffusers folder"
        original = unet_prefix(header)
        if original is not None:
            yield from kin_of_checkpoint(header, original, tables).family.evidence
    elif not header.tensors:
        yield "holds no tensor"
    else:
        yield f"none of its {len(header.tensors)} keys carries an adapter's mark, e.g. {min(header.tensors)!r}"


def _pickled_weights(folder: Path) -> Path | None:
    """The pickle that an adapter's folder has in place of safetensors weights."""
    names = (PEFT_WEIGHTS, DIFFUSERS_WEIGHTS)
    if any((folder / name).is_file() for name in names):
        return None
    pickles = (folder / Path(name).with_suffix(".bin") for name in names)
    return next((pickle for pickle in pickles if pickle.is_file()), None)
