"""The third-party warnings that Tauworks knows, has judged harmless and silences, each by name."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownWarning:
    """One warning: the modules it comes from, how its message begins (regular expressions), why it is harmless here."""

    modules: str
    category: type[Warning]
    message: str
    reason: str


KNOWN_WARNINGS: tuple[KnownWarning, ...] = (
    KnownWarning(
        modules=r"diffusers\.schedulers\.",
        category=FutureWarning,
        message=r"`?algorithm_types dpmsolver and sde-dpmsolver",
        reason="DPM-Solver (2022) is painted as the baseline that the LCM paper compares with; it must stay dpmsolver.",
    ),
    KnownWarning(
        modules=r"diffusers\.schedulers\.",
        category=DeprecationWarning,
        message=r"__array__ implementation doesn't accept a copy keyword",
        reason="torch's Tensor.__array__ predates numpy 2's copy keyword; the copy that it makes is what is wanted.",
    ),
    KnownWarning(
        modules=r"peft\.tuners\.",
        category=UserWarning,
        message=r"Already found a `peft_config` attribute in the model",
        reason="A second vector beside the first is what a composition is.",
    ),
)


@contextmanager
def known_warnings_silenced() -> Iterator[None]:
    """Silence exactly KNOWN_WARNINGS; every other warning passes as it would without."""
    with warnings.catch_warnings():
        for known in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", known.message, known.category, known.modules)
        yield
