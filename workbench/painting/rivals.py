"""What to paint beside a composition, at the cost of the same number of U-Net evaluations."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.painting.profiles import Sampling
from workbench.recipes.edits import without_term

if TYPE_CHECKING:
    from workbench.recipes.drafts import Draft

SOLVERS = {"ddim": "DDIM", "dpm++": "DPM-Solver++"}
"""What people paint with who have no acceleration vector."""

GUIDANCE = 7.5
"""What they guide with; it doubles the cost of a step."""


@dataclass(frozen=True)
class Rival:
    """One way to spend the same evaluations."""

    title: str
    recipe: str
    sampling: Sampling


def evaluations(sampling: Sampling) -> int:
    """U-Net passes of one picture: two a step where it is guided."""
    return sampling.steps * (2 if sampling.guidance > 1 else 1)


def rivals(draft: "Draft", sampling: Sampling) -> tuple[Rival, ...]:
    """The same sum without its acceleration vectors, by DDIM and by DPM-Solver++, at the cost of `sampling`.

    Guided where the evaluations can be halved; of a sum of acceleration vectors alone, the base.
    """
    recipe, cost = slow_recipe(draft), evaluations(sampling)
    steps, guidance = (cost // 2, GUIDANCE) if cost % 2 == 0 else (cost, 1.0)
    own = {name: getattr(sampling, name) for name in ("width", "height", "negative", "init", "init_strength")}
    return tuple(
        Rival(title, recipe, Sampling(solver=solver, steps=steps, guidance=guidance, **own))
        for solver, title in SOLVERS.items()
    )


def slow_recipe(draft: "Draft") -> str:
    """The recipe without the terms that are acceleration vectors."""
    text = draft.text
    for term in reversed(draft.terms):
        if term.version is not None and term.version.kind == "acceleration":
            text = without_term(text, term.written.position)
    return text or (draft.base.ref if draft.base else draft.painted)
