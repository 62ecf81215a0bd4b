"""A command whose argument may begin with a minus: `tau compose "-0.3*blur + a"`."""

import re
from typing import Any

from typer.core import TyperCommand, TyperOption

_NEGATIVE = re.compile(r"-\s*[\d.(].*|-[^-\s].*\s[+-]\s.*", re.DOTALL)
"""A minus and then a number or a parenthesis, or a sum further on; no short option looks like that."""


class RecipeCommand(TyperCommand):
    """Takes a recipe that begins with a minus for what it is, not for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move such a recipe behind `--`, where nothing is an option any more."""
        if "--" not in args:
            taking = {name for option in self.params if _takes_value(option) for name in option.opts}
            negative = [
                i for i, text in enumerate(args) if _NEGATIVE.fullmatch(text) and (i == 0 or args[i - 1] not in taking)
            ]
            others = [text for i, text in enumerate(args) if i not in negative]
            args = [*others, "--", *(args[i] for i in negative)] if negative else args
        return super().parse_args(ctx, args)


def _takes_value(option: Any) -> bool:
    return isinstance(option, TyperOption) and not option.is_flag
