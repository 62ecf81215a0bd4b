"""What a rule of a scope selects: a component or block by name, or modules by a regular expression."""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from arithmetic.errors import RecipeError
from arithmetic.recipe.text import PLAIN_SELECTOR, quoted

ELSE, LBW = "else", "lbw"
"""What stands in a selector's place without being one."""

SHORT_COMPONENTS: Mapping[str, str] = {"text_encoder": "te", "text_encoder_2": "te2"}
SHORT_SIDES: Mapping[str, str] = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}

LONGEST_PATTERN = 200
MOST_REPEATS = 4
"""Each one multiplies what a name that does not match can cost by the length of the name."""

BLOCK_DEPTH = 3
"""How many parts of a module's name tell its block: unet.down.1."""


@dataclass(frozen=True)
class Block:
    """The modules below a dotted name, whole parts alike: `unet.down.1` has unet.down_blocks.1.resnets.0.conv1.

    The short forms te, te2, unet.down, unet.mid and unet.up mean the same as the modules' own; the short one is kept.
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise RecipeError("A selector is empty. Name a component or a block, such as unet.down.")
        object.__setattr__(self, "name", short_name(self.name))

    def __str__(self) -> str:
        plain = PLAIN_SELECTOR.fullmatch(self.name) and self.name not in (ELSE, LBW)
        return self.name if plain else quoted(self.name)

    def selects(self, module: str) -> bool:
        """Whether `module` is this one or below it."""
        return f"{short_name(module)}.".startswith(f"{self.name}.")


@dataclass(frozen=True)
class Pattern:
    """The modules whose full name (unet.down_blocks...) a regular expression is found in.

    Raises RecipeError for one that is invalid, or that could take forever on a name that it does not match.
    """

    expression: str

    def __post_init__(self) -> None:
        expression = re.sub(r"\\(.)", lambda pair: "/" if pair[1] == "/" else pair[0], self.expression)
        if not expression or "\n" in expression:
            raise RecipeError("A regular expression takes one line, between two slashes: /attn2/.")
        if len(expression) > LONGEST_PATTERN:
            raise RecipeError(f"The regular expression has {len(expression)} letters, more than {LONGEST_PATTERN}.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # a set that a later Python reads otherwise
                re.compile(expression)
        except (re.error, OverflowError, FutureWarning) as error:
            raise RecipeError(f"The regular expression is not valid: {error}.") from None
        _require_quick(expression)
        object.__setattr__(self, "expression", expression)

    def __str__(self) -> str:
        escaped = re.sub(r"\\.|/", lambda found: r"\/" if found[0] == "/" else found[0], self.expression)
        return f"/{escaped}/"

    def selects(self, module: str) -> bool:
        """Whether the expression is found anywhere in `module`."""
        return re.search(self.expression, module) is not None


Selector = Block | Pattern


def short_name(name: str) -> str:
    """A module's or a block's name with its component and its side in the short form: unet.down.1, te.text_model."""
    component, *rest = name.split(".")
    if component == "unet" and rest:
        rest[0] = SHORT_SIDES.get(rest[0], rest[0])
    return ".".join((SHORT_COMPONENTS.get(component, component), *rest))


def block_name(module: str) -> str:
    """The block that a module is in, as a scope names it: unet.down.1, unet.mid, unet.conv_in; te as a whole."""
    component, *rest = short_name(module).split(".")
    if component != "unet" or not rest:
        return component
    return ".".join((component, *rest[: BLOCK_DEPTH - 1 if rest[0] in ("down", "up") else 1]))


def nearest_blocks(selector: Selector, modules: Iterable[str]) -> tuple[str, ...]:
    """Up to five names of blocks that `modules` are in, the likest first; for an expression, the first."""
    parts = [short_name(module).split(".") for module in modules]
    blocks = dict.fromkeys(".".join(part[:depth]) for depth in range(1, BLOCK_DEPTH + 1) for part in parts)
    near = get_close_matches(selector.name, blocks, n=5) if isinstance(selector, Block) else []
    return tuple(near or list(blocks)[:5])


def _require_quick(expression: str) -> None:
    """Raises RecipeError for repeats in a repeated group, which take exponential time, and for too many of them."""
    bare = re.sub(r"\\.|\[\^?\]?(\\.|[^\]])*\]", "x", expression)
    repeats = len(re.findall(r"[*+]|\{\d*,\d*\}", bare))
    if repeats > MOST_REPEATS:
        raise RecipeError(f"The regular expression repeats {repeats} times (* or +), at most {MOST_REPEATS} are read.")
    while inner := re.search(r"\((?:\?[:=!]|\?<[=!])?([^()]*)\)([*+]|\{\d*,\d*\})?", bare):
        repeated = re.search(r"[*+?|]|\{\d*,\d*\}", inner[1])
        if inner[2] and repeated:
            raise RecipeError("The regular expression repeats a group that varies in itself; that can take forever.")
        bare = bare[: inner.start()] + ("x*" if repeated or inner[2] else "x") + bare[inner.end() :]
