"""A composition is a text: `0.8*papercut + 1.0*lcm-sd15:2 - 0.3*blur | dtype(fp16)`."""

from collections.abc import Mapping

from arithmetic.recipe.blocks import BlockList, block_of, fitting_lengths
from arithmetic.recipe.expression import Atom, Call, Group, Option, Recipe, Reference, Sum, Term, with_stage
from arithmetic.recipe.grammar import syntax_tree
from arithmetic.recipe.reader import LARGEST_WEIGHT, Reader
from arithmetic.recipe.scopes import Rule, Scope
from arithmetic.recipe.selectors import Block, Pattern
from arithmetic.recipe.signatures import SIGNATURES, OptionSignature, Signature
from arithmetic.recipe.stages import PRECISIONS, STAGES, Stage

__all__ = [
    "LARGEST_WEIGHT",
    "PRECISIONS",
    "SIGNATURES",
    "STAGES",
    "Atom",
    "Block",
    "BlockList",
    "Call",
    "Group",
    "Option",
    "OptionSignature",
    "Pattern",
    "Recipe",
    "Reference",
    "Rule",
    "Scope",
    "Signature",
    "Stage",
    "Sum",
    "Term",
    "block_of",
    "fitting_lengths",
    "parse",
    "with_stage",
]


def parse(text: str, *, signatures: Mapping[str, Signature] = SIGNATURES, comments: bool = False) -> Recipe:
    """Read a recipe; parentheses without stages are multiplied out exactly (0.1*(3*a) is 0.3*a).

    `parse(str(r)) == r`. `signatures` are the methods that may be called. `comments` is for recipe files: from # to the
    end of a line nothing is read.

    Raises:
        RecipeSyntaxError: with the place and a caret.
    """
    return Reader(text, signatures).recipe(syntax_tree(text, comments=comments))
