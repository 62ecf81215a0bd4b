"""Proves that a checkpoint is a base with a sum in it, whoever wrote it: nothing is known but its files and its inputs.

Modules are looked up by name, so that shards, dialects of names and dtypes may be others than the base's. A module that
the sum changes is proved by probes (see `arithmetic.baking.proof`). Every other tensor must be the first base's to the
bit, or after a change of dtype what the base's rounds to; none may be missing, and none too many.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from arithmetic.baking.bits import INTEGERS
from arithmetic.baking.demands import input_records, touched_modules
from arithmetic.baking.folder import WEIGHT_SUFFIXES, files_within
from arithmetic.baking.proof import BOUNDS, PROBES, BakeCertificate, Proof, certificate_of, module_error
from arithmetic.baking.sheets import FLOATS, Entry, draw_sheets
from arithmetic.baking.sums import Bases
from arithmetic.certificate import SEED, certificate_path
from arithmetic.errors import BoundExceeded, CertificateMismatch, ShapeMismatch
from arithmetic.resources import DEFAULT_RESOURCES, Resources, done_in_order
from arithmetic.sources.source import Source
from arithmetic.weights import Weights
from arithmetic.weights.mapped import MappedFile
from formats import Header, file_sha256, read_header

BUFFERS = ("position_ids",)
"""Tensors without information, which libraries make anew and leave out of what they save."""

Tensors = tuple[MappedFile, str]
"""A file and a key in it."""


def verify_bake(
    written: Weights,
    bases: Bases,
    source: Source | None,
    *,
    recipe: str = "",
    locked: str = "",
    inputs: Sequence[Mapping[str, Any]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    resources: Resources = DEFAULT_RESOURCES,
    seed: int = SEED,
) -> BakeCertificate:
    """Prove that `written` is sum_i c_i W_i + dW; see the module's docstring.

    Args:
        written: a folder, a file or its shards, in any float dtype.
        bases: (coefficient, base) each; the first one is where unchanged tensors come from.
        source: dW; None for a sum of bases alone.
        recipe: the canonical text, for the certificate.
        locked: the same with digests for names.
        inputs: records for the certificate; the bases' and the source's names by default.
        progress: called with (modules done, modules); what it raises stops the work.
        resources: threads.
        seed: of the probes.

    Raises:
        BoundExceeded: a module that is not the sum, a tensor that is not the base's, is missing or one too many.
        CertificateMismatch: the certificate beside it belongs to other bytes.
        ShapeMismatch: the two have different module tables.
        AlgebraError, MissingModule: as `bake`.
    """
    claim = _Claim(written, bases, source, frozenset(touched_modules(bases, source)))
    claim.require_same_tensors()
    proof = _proved(claim, progress, resources, seed)
    others, left_out = _other_files(claim)
    certificate = certificate_of(
        proof,
        dtypes=[written.dtype_tag(module) for module in written.modules],
        others=others,
        left_out=(*claim.left_out, *left_out),
        recipe=recipe,
        locked=locked,
        inputs=inputs or input_records(bases, source),
        probes=PROBES,
        seed=seed,
    )
    _require_certified(written, certificate)
    return certificate


@dataclass(frozen=True)
class _Claim:
    """What a checkpoint is said to be."""

    written: Weights
    bases: Bases
    source: Source | None
    touched: frozenset[str]

    @property
    def base(self) -> Weights:
        """The first one."""
        return self.bases[0][1]

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The tensors of the base."""
        sheets = draw_sheets(self.base, self.touched, tag=None, shard_bytes=None, metadata={}, file_name="any")
        return tuple(entry for sheet in sheets for entry in sheet.entries)

    @cached_property
    def carried(self) -> dict[str, Tensors]:
        """Folder/key of what belongs to no module -> where the checkpoint has it."""
        groups = {file.path: file.group for file in self.written.files}
        return {f"{groups[path]}/{key}": (self.written.mapped(path), key) for path, key in self.written.carried}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Buffers of the base that the checkpoint lacks."""
        own = (entry for entry in self.entries if not entry.parts and entry.name not in self.carried)
        return tuple(entry.name for entry in own if entry.key.endswith(BUFFERS))

    def require_same_tensors(self) -> None:
        """Raise for another table, and for tensors that are missing or too many."""
        written, base = self.written, self.base
        if dict(written.architecture.modules) != dict(base.architecture.modules):
            raise ShapeMismatch(
                f"{written.name}: is {written.architecture.name}, {base.name} is {base.architecture.name}. "
                "Prove it against the base that it was made from."
            )
        ours = {entry.name for entry in self.entries if not entry.parts}
        buffers = {name for name in ours ^ self.carried.keys() if name.endswith(BUFFERS)}
        missing = {*(base.modules.keys() - written.modules.keys()), *(ours - self.carried.keys() - buffers)}
        extra = {*(written.modules.keys() - base.modules.keys()), *(self.carried.keys() - ours - buffers)}
        for found, what in ((missing, f"is missing, {base.name} has it"), (extra, f"is not in {base.name}")):
            if found:
                raise BoundExceeded(
                    f"{written.name}: {min(found)} {what} ({len(found)} such). Prove it against the base that it was "
                    "made from, in the form that it was made from."
                )

    def is_probed(self, module: str) -> bool:
        """Whether a module is the sum's, or another dtype's."""
        return module in self.touched or self.written.dtype_tag(module) != self.base.dtype_tag(module)

    def require_kept(self, entry: Entry) -> bool:
        """Whether the bytes of an unchanged tensor are the base's; raise where not even its values are."""
        ours = (self.base.mapped(entry.file.path), entry.key)
        if not entry.parts:
            theirs = self.carried.get(entry.name)
            return theirs is not None and self._is_kept(entry.name, ours, theirs)
        same = [self._is_module_kept(part.module) for part in entry.parts if part.module not in self.touched]
        return len(same) == len(entry.parts) and all(same)

    def _is_kept(self, name: str, ours: Tensors, theirs: Tensors) -> bool:
        require_equal(ours, theirs, f"{self.written.name}: {name}", self.base.name)
        return tag_of(ours) == tag_of(theirs)

    def _is_module_kept(self, module: str) -> bool:
        """As `require_kept`, of one module, whichever way round the two files have it."""
        ours, theirs = self.base.place(module), self.written.place(module)
        if (ours.rows, ours.transposed) == (theirs.rows, theirs.transposed) == (None, False):
            stored = (self.base.mapped(ours.file), ours.key), (self.written.mapped(theirs.file), theirs.key)
            return self._is_kept(module, *stored)
        before, after = self.base.weight(module), self.written.weight(module)
        if not is_same(before, after):
            raise BoundExceeded(_not_the_bases(f"{self.written.name}: {module}", self.base.name))
        return before.dtype == after.dtype


def _proved(claim: _Claim, progress: Callable[[int, int], None] | None, resources: Resources, seed: int) -> Proof:
    written, bases = claim.written, claim.bases
    probed = [module for module in written.modules if claim.is_probed(module)]
    tasks = [partial(module_error, written, module, bases, claim.source, PROBES, seed) for module in probed]
    errors: dict[str, float] = {}
    moved = 0
    with closing(done_in_order(tasks, resources)) as results:
        for module, (error, is_moved) in zip(probed, results, strict=True):
            errors[module] = error
            moved += is_moved
            if progress is not None:
                progress(len(errors), len(probed))
    with closing(done_in_order([partial(claim.require_kept, entry) for entry in claim.entries], resources)) as kept:
        untouched = sum(kept)
    return Proof(written.digests, errors, {m: BOUNDS[written.dtype_tag(m)] for m in probed}, moved, untouched)


def require_equal(ours: Tensors, theirs: Tensors, where: str, base: str) -> None:
    """Raise BoundExceeded unless a tensor has the base's bytes, or in another float dtype the base's values."""
    (own, own_key), (other, other_key) = ours, theirs
    before, after = own.header.tensors[own_key], other.header.tensors[other_key]
    if before.elements != after.elements or math.prod(before.shape) != math.prod(after.shape):
        raise BoundExceeded(f"{where}: is {list(after.shape)}, {base} has {list(before.shape)}.")
    if before.dtype == after.dtype:
        same = before.elements == 0 or torch.equal(_bytes_of(own, own_key), _bytes_of(other, other_key))
    else:
        floats = before.dtype in FLOATS and after.dtype in FLOATS
        same = floats and is_same(own.tensor(own_key).flatten(), other.tensor(other_key).flatten())
    if not same:
        raise BoundExceeded(_not_the_bases(where, base))


def is_same(before: Tensor, after: Tensor) -> bool:
    """Whether `after` is `before` to the bit, once that is rounded to its dtype."""
    bits = INTEGERS[after.element_size()]
    return torch.equal(before.to(after.dtype).contiguous().view(bits), after.contiguous().view(bits))


def tag_of(tensor: Tensors) -> str:
    """The dtype as the header says it."""
    file, key = tensor
    return file.header.tensors[key].dtype


def _bytes_of(file: MappedFile, key: str) -> Tensor:
    return torch.frombuffer(file.raw(key), dtype=torch.uint8)


def _not_the_bases(where: str, base: str) -> str:
    return (
        f"{where}: is not {base}'s, and nothing in the recipe changes it. "
        "Name what else was added, or the base that it was made from."
    )


def _other_files(claim: _Claim) -> tuple[dict[str, str], list[str]]:
    """Name -> SHA-256 of the files beside the modules' that are the base's, and the names that the proof leaves out.

    Files of weights must be the base's, tensor by tensor. Texts (configurations, vocabularies) may differ, and parts
    such as a safety checker may be left away: those are named.
    """
    written, base = claim.written, claim.base
    if not (written.is_folder and base.is_folder):
        return {}, []
    ours, theirs = _beside(base), _beside(written)
    left_out = sorted(ours - theirs)
    proved: dict[str, str] = {}
    for name in sorted(theirs):
        if not name.endswith("/") and _is_the_bases(claim, name, has_it=name in ours):
            proved[name] = file_sha256(written.path / name)
        else:
            left_out.append(name)
    return proved, left_out


def _beside(weights: Weights) -> set[str]:
    own = {file.name for file in weights.files}
    return {name for name in files_within(weights.path) if name not in own and ".safetensors.index." not in name}


def _is_the_bases(claim: _Claim, name: str, *, has_it: bool) -> bool:
    """Whether a file is the base's; raises BoundExceeded for weights that are not."""
    theirs, ours = claim.written.path / name, claim.base.path / name
    is_weights = PurePosixPath(name).suffix in WEIGHT_SUFFIXES
    if is_weights and (not has_it or _is_stale(claim, name)):
        raise BoundExceeded(
            f"{claim.written.name}: {name}: holds weights that nothing in the recipe stands for. "
            "Remove the file, or name what it was made from."
        )
    if not has_it:
        return False
    if theirs.stat().st_size == ours.stat().st_size and file_sha256(theirs) == file_sha256(ours):
        return True
    if not is_weights:
        return False
    if theirs.suffix != ".safetensors":
        raise BoundExceeded(_not_the_bases(f"{claim.written.name}: {name}", claim.base.name))
    _require_same_file(read_header(ours), read_header(theirs), f"{claim.written.name}: {name}", claim.base.name)
    return True


def _is_stale(claim: _Claim, name: str) -> bool:
    """Whether a file holds the same modules as those that were changed, unchanged."""
    return str(PurePosixPath(name).parent) in {file.group for file in claim.written.files}


def _require_same_file(ours: Header, theirs: Header, where: str, base: str) -> None:
    strange = sorted(ours.tensors.keys() ^ theirs.tensors.keys())
    if strange:
        raise BoundExceeded(f"{where}: {strange[0]}: is in one of it and {base}'s alone ({len(strange)} such).")
    own, other = MappedFile(ours), MappedFile(theirs)
    for key in ours.tensors:
        require_equal((own, key), (other, key), f"{where}: {key}", base)


def _require_certified(written: Weights, certificate: BakeCertificate) -> None:
    """The certificate beside a checkpoint, where there is one, must be about the bytes that it has now."""
    beside: Path = certificate_path(written.path)
    if not beside.exists():
        return
    kept = BakeCertificate.from_json(beside.read_text(encoding="utf-8"))
    changed = sorted(name for name, digest in written.digests.items() if kept.files.get(name) != digest)
    if changed:
        raise CertificateMismatch(
            f"{beside.name}: belongs to other bytes of {changed[0]}. The checkpoint was changed after it was "
            "certified; bake again, or remove the certificate."
        )
