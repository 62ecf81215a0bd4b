"""Judges a sum before any of it is computed."""

from collections.abc import Callable, Hashable, Mapping

from arithmetic.measures import Measures, measure
from arithmetic.precision import Precision
from arithmetic.resources import DEFAULT_RESOURCES, Resources
from arithmetic.sources.combination import Combination, plan
from arithmetic.sources.source import Source
from arithmetic.verdict.finding import Finding, Verdict
from arithmetic.verdict.known import NOTHING_KNOWN, Known
from arithmetic.verdict.magnitudes import magnitude_findings
from arithmetic.verdict.provenance import provenance_findings
from arithmetic.verdict.readers import reader_findings
from arithmetic.verdict.sampling import sampling_findings
from arithmetic.verdict.structure import (
    are_of_one_architecture,
    matrix_findings,
    structure_findings,
    vectors_in,
)
from arithmetic.verdict.usage import usage_findings
from formats import Layout

Progress = Callable[[int, int], None]
"""Called with (modules done, modules)."""


def check_headers(combination: Combination, *, layout: Layout | None = Layout.KOHYA, has_base: bool = False) -> Verdict:
    """What the headers tell: architectures, shapes, keys, alphas, kinds, and readers of the file to come.

    `layout` None stands for a sum that is baked into a base. No tensor is read, and no file is hashed or compared with
    another one.
    """
    return Verdict.of(_header_findings(combination, layout, has_base))


def check(
    combination: Combination,
    *,
    layout: Layout | None = Layout.KOHYA,
    dtype: Precision | str = Precision.FP32,
    known: Known = NOTHING_KNOWN,
    measures: Mapping[Hashable, Measures] | None = None,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress | None = None,
) -> Verdict:
    """Judge a combination for one output layout and dtype.

    Tensors are read of vectors without measures alone, once, and not where the headers forbid the sum already.

    Args:
        combination: the sum.
        layout: of the file to come; None where the sum is baked into a base, which holds every delta.
        dtype: of the file to come.
        known: what a registry knows of the vectors.
        measures: by the vectors' `content`, as far as they were taken before.
        resources: threads and memory for what is read.
        progress: called with (modules done, modules) while tensors are read.
    """
    findings = _header_findings(combination, layout, known.base is not None)
    findings += [*provenance_findings(known), *sampling_findings(known)]
    if are_of_one_architecture(combination):
        planned = plan(combination)
        findings += usage_findings(combination, planned, known)
        if not any(finding.severity == "error" for finding in findings):
            measured = _measured(combination, measures or {}, resources, progress)
            findings += magnitude_findings(combination, planned, measured, Precision(dtype))
    return Verdict.of(dict.fromkeys(findings))


def _header_findings(combination: Combination, layout: Layout | None, has_base: bool) -> list[Finding]:
    findings = list(structure_findings(combination, has_base=has_base))
    if layout is not None and are_of_one_architecture(combination):
        findings += [*matrix_findings(combination), *reader_findings(combination, layout)]
    return findings


def _measured(
    combination: Combination,
    measures: Mapping[Hashable, Measures],
    resources: Resources,
    progress: Progress | None,
) -> dict[int, Measures]:
    """Identity -> measures of every vector: those that are given, as far as they cover it, the rest by reading."""
    taken: dict[Hashable, Measures] = {}
    missing: dict[Hashable, Source] = {}
    vectors: list[Source] = list(vectors_in(combination))
    for source in vectors:
        given = measures.get(source.content)
        if given is not None and given.covers(source):
            taken[source.content] = given
        else:
            missing[source.content] = source
    total = sum(len(source.modules) for source in missing.values())
    done = 0
    for content, source in missing.items():
        taken[content] = measure(source, resources=resources, progress=_shifted(progress, done, total))
        done += len(source.modules)
    return {id(source): taken[source.content] for source in vectors}


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)
