"""The verdict: what is known to be wrong with a combination before it is computed."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from arithmetic.combination import Combination, distinct_terms, plan
from arithmetic.errors import ValidationRefused
from arithmetic.deltas import width
from arithmetic.precision import Precision
from arithmetic.survey import Survey, survey
from arithmetic.vector import Vector
from formats import Layout, component_of

Severity = Literal["error", "warning", "note"]
SELF_ATTENTION = (".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj")
SELF_ATTENTION_OUTPUT = ".self_attn.out_proj"
NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know: a stable code, how bad, one sentence, and what to do."""

    code: str
    severity: Severity
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """All findings, errors first; nothing is computed while there is an error."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid the computation."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def require(self) -> None:
        """Raises ValidationRefused when there is an error."""
        if not self.ok:
            raise ValidationRefused(self)


def check(
    combination: Combination,
    *,
    layout: Layout = Layout.KOHYA,
    dtype: Precision | str = Precision.FP32,
    accelerations: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Judge a combination for one output layout and dtype; reads every tensor once unless the headers forbid it.

    Args:
        combination: the sum.
        layout: of the file to come.
        dtype: of the file to come.
        accelerations: names of the vectors that are known to be acceleration vectors.
        progress: called with (modules done, modules).
    """
    findings = [*_structure(combination), *_readers(combination, layout), *_usage(combination, accelerations)]
    if not any(finding.severity == "error" for finding in findings):
        findings += _content(survey(combination, progress=progress), Precision(dtype))
    order = ("error", "warning", "note")
    return Verdict(tuple(sorted(findings, key=lambda finding: order.index(finding.severity))))


def _structure(combination: Combination) -> Iterator[Finding]:
    """What the headers alone forbid."""
    first = combination.architecture
    for _, vector in combination.terms:
        if vector.architecture.modules != first.modules:
            yield Finding(
                "architecture-mismatch",
                "error",
                f"{combination.terms[0][1].name} is {first.name}, {vector.name} is {vector.architecture.name}.",
                "Sum vectors of one architecture.",
            )
            continue
        yield from _unfit(vector)


def _unfit(vector: Vector) -> Iterator[Finding]:
    base = vector.architecture.name
    if vector.misfits:
        first = vector.misfits[0]
        yield Finding(
            "shape-mismatch",
            "error",
            f"{vector.name}: {_modules(vector.misfits)} of another size than {base}'s: "
            f"{first.module} is {_shape(first.got)}, the base's is {_shape(first.expected)}.",
            "Use a vector made for this base.",
        )
    elif vector.unmatched:
        count = len(vector.unmatched)
        yield Finding(
            "unmatched-keys",
            "error",
            f"{vector.name}: {count} keys are no low-rank factors of a module of {base}: {_some(vector.unmatched)}.",
            "A sum that leaves them out would not be the one asked for; use a plain LoRA of this base.",
        )
    zero = [module for module, entry in vector.modules.items() if entry.alpha == 0]
    if zero:
        yield Finding(
            "ambiguous-alpha",
            "error",
            f"{vector.name}: alpha is 0 in {_modules(zero)}; kohya and LyCORIS read it as the rank, others as 0.",
            "Write the alpha that is meant into the file.",
        )


def _readers(combination: Combination, layout: Layout) -> Iterator[Finding]:
    """What other tools are known to do to the file to come."""
    modules = [module.module for module in plan(combination).modules]
    for component in dict.fromkeys(component_of(module) for module in modules if not module.startswith("unet.")):
        own = [module for module in modules if component_of(module) == component]
        has_attention = any(module.endswith(SELF_ATTENTION) for module in own)
        has_output = any(module.endswith(SELF_ATTENTION_OUTPUT) for module in own)
        if layout is Layout.KOHYA and has_attention and not has_output:
            yield Finding(
                "kohya-text-encoder-without-out-proj",
                "warning",
                f"{component}: no out_proj is adapted; diffusers 0.42 cannot load such a kohya file or drops its keys.",
                "Write diffusers or PEFT when diffusers has to read it; other tools read it as it is.",
            )
        if layout is not Layout.KOHYA and own and not has_attention and not has_output:
            yield Finding(
                "diffusers-text-encoder-without-attention",
                "warning",
                f"{component}: no attention layer is adapted; diffusers 0.42 cannot tell the layout of such keys.",
                "Write kohya when diffusers has to read it.",
            )


def _usage(combination: Combination, accelerations: Collection[str]) -> Iterator[Finding]:
    distinct = distinct_terms(combination)
    if len(distinct) < len(combination.terms):
        names = [vector.name for _, vector in combination.terms]
        yield Finding(
            "same-content-twice",
            "warning",
            f"{_some(names)}: {len(names)} terms hold {len(distinct)} different vectors.",
            "Their weights are added; write one term.",
        )
    fast = [vector.name for weight, vector in distinct if weight != 0 and vector.name in accelerations]
    if len(fast) > 1:
        yield Finding(
            "two-accelerations",
            "warning",
            f"{_some(fast)} are all acceleration vectors; each was distilled to be the only one.",
            "Keep one of them.",
        )
    yield from _ranks(combination)


def _ranks(combination: Combination) -> Iterator[Finding]:
    modules = plan(combination).modules
    if not modules or len(combination.terms) < 2:
        return
    before = max(entry.rank for _, vector in combination.terms for entry in vector.modules.values())
    after = max(module.rank for module in modules)
    if after > before:
        wide = [m.module for m in modules if m.rank > min(m.spec.shape[0], width(m.spec))]
        excess = f" More than the matrix can use in {_some(wide)}." if wide else ""
        yield Finding("rank-growth", "note", f"The exact sum has rank {after}, the largest input {before}.{excess}", "")


def _content(measured: Survey, precision: Precision) -> Iterator[Finding]:
    """What only the tensors tell."""
    broken = [term for term in measured.terms if term.non_finite]
    for term in broken:
        yield Finding(
            "non-finite",
            "error",
            f"{term.vector.name}: NaN or infinity in {_modules(term.non_finite)}: {_some(term.non_finite)}.",
            "Train or export it again.",
        )
    if broken:
        return
    if measured.changes_nothing:
        yield Finding(
            "no-change",
            "error",
            "The sum is zero in every module: it would change nothing.",
            "Check the weights, and that the terms do not cancel.",
        )
        return
    for term in measured.terms:
        if term.weight == 0 or term.norm == 0:
            why = "its weights add up to 0" if term.weight == 0 else "all its deltas are zero"
            yield Finding("dead-term", "warning", f"{term.vector.name} has no effect: {why}.", "Leave it out.")
    peak = measured.balanced_peak if precision is Precision.FP16 else measured.peak
    if peak.value > precision.largest:
        yield Finding(
            f"{precision}-overflow",
            "error",
            f"{peak.module}: an entry of {peak.value:.3g} does not fit {precision}.",
            "Lower the weight, or write fp32 or bf16." if precision is Precision.FP16 else "Lower the weight.",
        )


def _shape(shape: tuple[int, ...] | str) -> str:
    return shape if isinstance(shape, str) else "x".join(map(str, shape))


def _modules(found: Collection[object]) -> str:
    return f"{len(found)} module{'' if len(found) == 1 else 's'}"


def _some(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    text = ", ".join(listed[:NAMED_AT_MOST])
    return text if len(listed) <= NAMED_AT_MOST else f"{text} and {len(listed) - NAMED_AT_MOST} more"
