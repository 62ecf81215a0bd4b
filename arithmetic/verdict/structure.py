"""What the headers of a sum's files forbid, before a tensor is read."""

from collections.abc import Iterator, Mapping
from typing import Any

from arithmetic.sources.anchored import OnBase
from arithmetic.sources.combination import Combination, inputs
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector
from arithmetic.verdict.finding import Finding, joined, modules_of, some


def structure_findings(combination: Combination, *, has_base: bool) -> Iterator[Finding]:
    """Architectures, shapes, keys, alphas, and kinds that need a base."""
    first = combination.architecture
    for _, source in combination.terms:
        if source.architecture.modules != first.modules:
            yield Finding(
                "architecture-mismatch",
                "error",
                f"{combination.terms[0][1].name} is {first.name}, {source.name} is {source.architecture.name}.",
                "Sum vectors of one architecture.",
            )
    for vector in vectors_in(combination):
        if vector.architecture.modules == first.modules:
            yield from _unfit(vector)
    for vector in _unanchored(combination):
        yield from _needs_base(vector, has_base)


def are_of_one_architecture(combination: Combination) -> bool:
    """Whether the terms' modules can be compared at all."""
    first = combination.architecture.modules
    return all(source.architecture.modules == first for _, source in combination.terms)


def matrix_findings(combination: Combination) -> Iterator[Finding]:
    """Terms that are no low-rank deltas, so that no LoRA file holds the sum."""
    table = combination.architecture.modules
    for _, source in ((weight, source) for weight, source in combination.terms if weight != 0):
        anchored = {module for vector in _unanchored(source) for module in vector.anchored}
        matrices = [module for module, one in source.modules.items() if one.rank is None and module not in anchored]
        if found := [module for module in matrices if module in table]:
            yield Finding(
                "dense-result",
                "error",
                f"{source.name} is no low-rank delta in {modules_of(found)}: {some(found)}; no LoRA file has a place "
                "for it.",
                "Give it a rank, as in ... | rank(64), or bake it into a base.",
            )


def vectors_in(source: Source) -> Iterator[Vector]:
    """Every file that a source is made of, each once, in the order written."""
    found = {id(origin): origin for _, origin in inputs(source)}
    return (origin for origin in found.values() if isinstance(origin, Vector))


def _unanchored(source: Source) -> Iterator[Vector]:
    """The vectors whose deltas the sum takes as they are: not those that a base was given to."""
    if isinstance(source, Vector):
        yield source
    elif not isinstance(source, OnBase):
        for _, part in source.parts:
            yield from _unanchored(part)


def _unfit(vector: Vector) -> Iterator[Finding]:
    base = vector.architecture.name
    if vector.misfits:
        first = vector.misfits[0]
        yield Finding(
            "shape-mismatch",
            "error",
            f"{vector.name}: {modules_of(vector.misfits)} of another size than {base}'s: "
            f"{first.module} is {_shape(first.got)}, the base's is {_shape(first.expected)}.",
            "Use a vector made for this base.",
        )
    elif vector.unmatched:
        count = len(vector.unmatched)
        yield Finding(
            "unmatched-keys",
            "error",
            f"{vector.name}: {count} key{'s belong' if count > 1 else ' belongs'} to no adapted module of {base}: "
            f"{some(vector.unmatched)}.",
            "A sum that leaves them out would not be the one asked for; use a vector of this base, exported whole.",
        )
    zero = [module for module, entry in vector.modules.items() if entry.alpha == 0]
    if zero:
        yield Finding(
            "ambiguous-alpha",
            "error",
            f"{vector.name}: alpha is 0 in {modules_of(zero)}; kohya and LyCORIS read it as the rank, others as 0.",
            "Write the alpha that is meant into the file.",
        )


def _needs_base(vector: Vector, has_base: bool) -> Iterator[Finding]:
    anchored: Mapping[str, Any] = vector.anchored
    if anchored:
        kinds = joined(dict.fromkeys(entry.title for entry in anchored.values()))
        yield Finding(
            "needs-dialect" if has_base else "needs-base",
            "error",
            f"{vector.name}: what {kinds} changes in {modules_of(anchored)} depends on the base's weights, and tools "
            "disagree on how.",
            f"{'Name' if has_base else 'Name a base and'} the dialect that is meant: "
            f"on_base({vector.name}; dialect=peft), lycoris or comfy.",
        )


def _shape(shape: tuple[int, ...] | str) -> str:
    return shape if isinstance(shape, str) else "x".join(map(str, shape))
