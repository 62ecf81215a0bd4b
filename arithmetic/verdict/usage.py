"""How the terms of a sum are used together: contents that stand twice, accelerations, the rank that they add up to."""

from collections.abc import Hashable, Iterator

from arithmetic.deltas import width
from arithmetic.sources.combination import Combination, Plan, distinct_terms
from arithmetic.verdict.finding import Finding, joined, modules_of, some
from arithmetic.verdict.known import Known


def usage_findings(combination: Combination, planned: Plan, known: Known) -> Iterator[Finding]:
    """What the terms, taken together, are besides a sum; compares contents."""
    yield from _twice(combination)
    used = {source.name for weight, source in distinct_terms(combination) if weight != 0}
    fast = [name for name in known.accelerations if name in used]
    if len(fast) > 1:
        yield Finding(
            "two-accelerations",
            "warning",
            f"{joined(fast)} are {'both' if len(fast) == 2 else 'all'} acceleration vectors; each was distilled to be "
            "the only one.",
            "Keep one of them.",
        )
    yield from _ranks(combination, planned)


def same_content(names: list[str]) -> Finding:
    """The finding on one content that several terms have, in one file or in several that say the same."""
    distinct = list(dict.fromkeys(names))
    if len(distinct) == 1:
        sentence = f"{distinct[0]} stands {len(names)} times."
    else:
        sentence = f"{joined(distinct)} are one content under {len(distinct)} names."
    return Finding("same-content-twice", "warning", sentence, "Their weights are added; write one term.")


def _twice(combination: Combination) -> Iterator[Finding]:
    found: dict[Hashable, list[str]] = {}
    for _, source in combination.terms:
        found.setdefault(source.content, []).append(source.name)
    for names in found.values():
        if len(names) > 1:
            yield same_content(names)


def _ranks(combination: Combination, planned: Plan) -> Iterator[Finding]:
    modules = planned.modules
    if not modules or len(combination.terms) < 2:
        return
    before = max(entry.rank or 0 for _, source in combination.terms for entry in source.modules.values())
    after = max(module.rank or 0 for module in modules)
    if after > before:
        wide = [m.module for m in modules if m.rank is not None and m.rank > min(m.spec.shape[0], width(m.spec))]
        excess = f" More than the matrix can use in {modules_of(wide)}: {some(wide)}." if wide else ""
        yield Finding(
            "rank-growth",
            "note",
            f"The exact sum has rank {after}, the largest input {before}.{excess}",
            "Write | rank(N) for a smaller file; the certificate then says what it costs.",
        )
