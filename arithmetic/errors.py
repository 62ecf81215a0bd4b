"""What arithmetic refuses.

AlgebraError
├── RecipeError           what a recipe cannot say
│   └── RecipeSyntaxError the recipe's text; shows the place with a caret
├── ScopeMismatch         a scope that does not fit the modules that it is for
├── ShapeMismatch         factors that do not fit their module
├── NeedsBase             a change that depends on the base's weights, asked for without them
├── DialectRefused        a base-dependent kind that the dialect does not know
├── ValidationRefused     a verdict with errors; nothing was computed
├── BoundExceeded         the written file is further from its recipe than its precision allows
├── CertificateMismatch   a certificate that belongs to other bytes
├── NotConvertible        a vector that another layout cannot hold as it is
├── NotAttachable         a change that only the base's own weights could hold
├── MethodRefused         a merge method that does not exist, or that cannot take these options or arguments
├── UnknownMeasures       recorded measures that another version wrote
├── BindingRefused        a recipe that reads well and makes no sense: a sum of bases, a call on the wrong arguments
├── OutputConflict        the output's place is taken, or is one of the inputs
├── MissingModule         a base that lacks a module that is asked of it
├── Overflow              a weight that the output's dtype cannot hold
├── NotRestored           a residual that does not give the base back, bit for bit
└── Cancelled             the caller asked to stop; nothing was left behind
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arithmetic.verdict import Verdict


class AlgebraError(Exception):
    """The base of every refusal of this package."""


class RecipeError(AlgebraError):
    """What a recipe cannot say: a stage out of its range, a group without a stage, two precisions."""


class RecipeSyntaxError(RecipeError):
    """A recipe that cannot be read: `position` is the offset in `text` that the caret points at."""

    def __init__(self, text: str, position: int, message: str) -> None:
        self.text = text
        self.position = position
        self.message = message
        super().__init__(f"{message}\n{_pointed(text, position)}")


class ScopeMismatch(AlgebraError):
    """A scope with a rule that has no adapted module, or with a block list made for another architecture."""


class ShapeMismatch(AlgebraError):
    """Factors that do not fit their module."""


class NeedsBase(AlgebraError):
    """A change that depends on the base's weights, asked for without them."""


class DialectRefused(AlgebraError):
    """A base-dependent kind that the named dialect does not know, or not in this form."""


class ValidationRefused(AlgebraError):
    """A combination that must not be computed; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__("\n".join(f"{f.code}: {f.sentence} {f.remedy}".rstrip() for f in verdict.errors))


class BoundExceeded(AlgebraError):
    """A written file whose arithmetic error exceeds what its precision explains."""


class CertificateMismatch(AlgebraError):
    """A certificate that belongs to other bytes."""


class NotConvertible(AlgebraError):
    """A vector that another layout cannot hold as it is."""


class NotAttachable(AlgebraError):
    """A change that is no low-rank change of a layer: it cannot stand beside the base's weights."""


class MethodRefused(AlgebraError):
    """A merge method that does not exist, or that cannot take these options or arguments."""


class UnknownMeasures(AlgebraError):
    """Recorded measures that another version wrote, or that are damaged."""


class BindingRefused(AlgebraError):
    """A recipe that reads well and makes no sense: a sum of bases, a call on arguments of the wrong sort."""


class OutputConflict(AlgebraError):
    """An output whose place is taken, or that would replace one of its own inputs."""


class MissingModule(AlgebraError):
    """A base that lacks a module that is asked of it, or has it in another size."""


class Overflow(AlgebraError):
    """A weight that is no finite number in the dtype that it is to be stored in."""


class NotRestored(AlgebraError):
    """A residual that does not give the base back, bit for bit."""


class Cancelled(AlgebraError):
    """The caller asked to stop; nothing was left behind."""


def _pointed(text: str, position: int) -> str:
    """The line of `text` around `position`, and a caret below it."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : end if end >= 0 else len(text)]
    return f"  {line}\n  {' ' * (position - start)}^"
