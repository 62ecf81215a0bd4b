"""The pictures that every contender paints: prompts, their noises, and what the judge should read in each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distill_jobs.errors import EvaluationRefused
from distill_jobs.evaluation.settings import EvaluationSettings

FIRST_SEED = 1_000_000
"""Noises of different evaluation seeds do not overlap below a million pictures."""

Truth = Mapping[str, str]


@dataclass(frozen=True)
class Exam:
    """One prompt and one noise a picture."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


def draw_exam(settings: EvaluationSettings, captions: Sequence[str]) -> Exam:
    """The prompts of the settings, or else the data set's distinct captions in an order drawn by the seed, in turn.

    Empty captions are left out: they ask for nothing. Raises EvaluationRefused when no other is there.
    """
    prompts = settings.prompts or _drawn(captions, settings.seed)
    if not prompts:
        raise EvaluationRefused("the data set: every caption is empty, so nothing can be asked for; name prompts")
    chosen = tuple(prompts[i % len(prompts)] for i in range(settings.pictures))
    first = (settings.seed + 1) * FIRST_SEED
    return Exam(chosen, tuple(range(first, first + settings.pictures)))


def _drawn(captions: Sequence[str], seed: int) -> tuple[str, ...]:
    distinct = sorted(set(captions) - {""})
    return tuple(distinct[i] for i in np.random.default_rng([seed, len(distinct)]).permutation(len(distinct)))


def read_truths(prompts: Sequence[str], template: str, heads: Mapping[str, Sequence[str]]) -> tuple[Truth, ...]:
    """What each prompt states, by a template such as "a {size} {colour} {shape}"; `heads` are the judge's.

    A head in braces stands for one of its values. Raises EvaluationRefused for a head that the judge has not, and for
    prompts that are not of the template's form: each is named, none is skipped.
    """
    pattern = _pattern(template, heads)
    matches = {prompt: pattern.fullmatch(prompt) for prompt in prompts}
    if strange := [prompt for prompt, match in matches.items() if match is None]:
        raise EvaluationRefused(
            f"truth {template!r}: {len(strange)} of {len(matches)} prompts do not read so with values that the judge "
            f"knows, the first: {strange[0]!r}; name prompts of that form, or leave truth out"
        )
    return tuple(match.groupdict() for prompt in prompts if (match := matches[prompt]) is not None)


def _pattern(template: str, heads: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", template)
    named = pieces[1::2]
    if strange := [head for head in named if head not in heads]:
        raise EvaluationRefused(f"truth {template!r}: the judge has no head {strange[0]!r}; it has {', '.join(heads)}")
    if not named or len(set(named)) != len(named):
        raise EvaluationRefused(f"truth {template!r}: expected each head once in braces, at least one")
    values = {head: "|".join(map(re.escape, heads[head])) for head in named}
    parts = [re.escape(piece) if i % 2 == 0 else f"(?P<{piece}>{values[piece]})" for i, piece in enumerate(pieces)]
    return re.compile("".join(parts))
