"""What the registry's knowledge of the vectors says against a sum of them."""

from collections.abc import Iterator

from arithmetic.verdict.finding import Finding, joined
from arithmetic.verdict.known import Dossier, Known

SURE = 0.9
"""A prediction type that is known with less confidence is a guess."""


def provenance_findings(known: Known) -> Iterator[Finding]:
    """Prediction types, licences, trigger words."""
    yield from _predictions(known)
    for sentence in known.license_conflicts:
        yield Finding(
            "licence-conflict",
            "warning",
            f"{sentence}.",
            "Keep the result to yourself, or leave the vector out; publishing asks for a reason.",
        )
    yield from _triggers(known)


def _predictions(known: Known) -> Iterator[Finding]:
    """Noise or velocity: a difference of weights means another thing in the other kind of network."""
    dossiers = [*known.vectors, *([known.base] if known.base else [])]
    said: dict[str, list[Dossier]] = {}
    for dossier in dossiers:
        if dossier.prediction_type is not None:
            said.setdefault(dossier.prediction_type, []).append(dossier)
    if len(said) < 2:
        return
    sure = all(max(one.prediction_confidence for one in ones) >= SURE for ones in said.values())
    parts = [f"{joined(_names(ones))} {_verb(ones)} {kind}" for kind, ones in said.items()]
    yield Finding(
        "prediction-type",
        "error" if sure else "warning",
        f"{', '.join(parts)}{'' if sure else ' (by their family alone)'}.",
        "Sum vectors, and take a base, of one prediction type.",
    )


def _names(dossiers: list[Dossier]) -> list[str]:
    return list(dict.fromkeys(dossier.name for dossier in dossiers))


def _verb(dossiers: list[Dossier]) -> str:
    return "predicts" if len(_names(dossiers)) == 1 else "predict"


def _triggers(known: Known) -> Iterator[Finding]:
    answering: dict[str, list[str]] = {}
    spelled: dict[str, str] = {}
    for dossier in known.vectors:
        for word in dossier.trigger_words:
            key = " ".join(word.casefold().split())
            spelled.setdefault(key, word.strip())
            if key and dossier.name not in answering.setdefault(key, []):
                answering[key].append(dossier.name)
    for key, names in answering.items():
        if len(names) > 1:
            yield Finding(
                "trigger-clash",
                "warning",
                f"{joined(names)} {'both' if len(names) == 2 else 'all'} answer to {spelled[key]!r}.",
                "One prompt brings them out together: weigh them by their strengths, not by words.",
            )
