"""Reads the text of a recipe: `terms_and_stages("0.8*a + (b - c) * 0.5 | dtype(fp16)")`."""

import json
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import NamedTuple, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

from arithmetic.errors import RecipeSyntaxError

LARGEST_WEIGHT = Decimal("1e30")
"""Beyond it a product with a factor's entries overflows float32 for certain."""


class WeightedReference(NamedTuple):
    """One term of the flattened sum; the weight is exact, as it was typed."""

    weight: Decimal
    reference: str


class StageCall(NamedTuple):
    """One stage as typed: its name, its arguments, and where it stands."""

    name: str
    arguments: tuple[str, ...]
    position: int


@cache
def _parser() -> Lark:
    grammar = files("arithmetic").joinpath("recipe.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=True)


def terms_and_stages(text: str) -> tuple[tuple[WeightedReference, ...], tuple[StageCall, ...]]:
    """Parse `text`; parentheses are multiplied out, the order of the references is kept.

    Raises:
        RecipeSyntaxError: with the place of the first thing that cannot be read.
    """
    if not text.strip():
        raise RecipeSyntaxError(text, 0, "The recipe is empty. Write a sum, such as 0.8*papercut + lcm-sd15.")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _explained(text, error) from None
    total, *stages = cast("list[Tree[Token]]", tree.children)
    return _sum(text, total), tuple(_stage(stage) for stage in stages)


def _sum(text: str, tree: Tree[Token]) -> tuple[WeightedReference, ...]:
    sign = Decimal(1)
    terms: list[WeightedReference] = []
    for child in tree.children:
        if isinstance(child, Token):
            sign = Decimal(-1)
        elif child.data == "operator":
            sign = Decimal(-1 if cast(Token, child.children[0]).type == "MINUS" else 1)
        else:
            terms += _scaled(text, child, sign, _product(text, child))
    return tuple(terms)


def _product(text: str, tree: Tree[Token]) -> tuple[WeightedReference, ...]:
    weight = Decimal(1)
    terms: tuple[WeightedReference, ...] | None = None
    for factor in cast("list[Tree[Token]]", tree.children):
        inner = factor.children[0]
        if isinstance(inner, Token) and inner.type in ("NUMBER", "SIGNED_NUMBER"):
            weight *= Decimal(inner)
        elif terms is not None:
            raise RecipeSyntaxError(text, _position(factor), "A product takes one vector and numbers, not two vectors.")
        else:
            terms = _reference(text, inner) if isinstance(inner, Token) else _sum(text, inner)
    if terms is None:
        raise RecipeSyntaxError(text, _position(tree), "A number alone is no vector. Multiply one by it: 0.8*papercut.")
    return _scaled(text, tree, weight, terms)


def _scaled(
    text: str, tree: Tree[Token], weight: Decimal, terms: Iterable[WeightedReference]
) -> tuple[WeightedReference, ...]:
    scaled = tuple(WeightedReference(weight * term.weight, term.reference) for term in terms)
    if any(abs(term.weight) > LARGEST_WEIGHT for term in scaled):
        raise RecipeSyntaxError(text, _position(tree), f"The weight is larger than {LARGEST_WEIGHT:e}.")
    return scaled


def _reference(text: str, token: Token) -> tuple[WeightedReference, ...]:
    reference = str(token)
    if token.type == "RAW_QUOTED":
        reference = reference[1:-1]
    elif token.type == "QUOTED":
        try:
            reference = json.loads(reference)
        except json.JSONDecodeError as error:
            raise RecipeSyntaxError(
                text, (token.start_pos or 0) + error.pos, f"Inside double quotes, backslashes follow JSON: {error.msg}."
            ) from None
    if not reference.strip():
        raise RecipeSyntaxError(text, token.start_pos or 0, "The quotes hold no name.")
    return (WeightedReference(Decimal(1), reference),)


def _stage(tree: Tree[Token]) -> StageCall:
    name, *arguments = tree.children
    texts = (str(cast("Tree[Token]", argument).children[0]) for argument in arguments if argument is not None)
    return StageCall(str(name), tuple(texts), _position(tree))


def _position(tree: Tree[Token]) -> int:
    return tree.meta.start_pos


def _explained(text: str, error: UnexpectedInput) -> RecipeSyntaxError:
    """The same error in the words of recipes."""
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return RecipeSyntaxError(text, len(text.rstrip()), _unfinished(text))
    position = error.pos_in_stream or 0
    if text[position:].strip() in ("+", "-", "*", "|"):
        return RecipeSyntaxError(text, len(text.rstrip()), _unfinished(text))
    return RecipeSyntaxError(text, position, _unexpected(text, position))


def _unfinished(text: str) -> str:
    if text.count("(") > text.count(")"):
        return "A parenthesis is not closed."
    return "The recipe ends where a vector was expected."


def _unexpected(text: str, position: int) -> str:
    found = text[position]
    if found in "+-":
        return f"Binary {found} has a space on both sides, and stands between two vectors."
    known = {
        "/": "There is no division, and a path starts with ./ or takes quotes.",
        "{": "Scopes in braces are not supported: a weight applies to the whole vector.",
        "#": "Comments are not supported in a recipe.",
        "(": "A method such as ties(...) is not supported: a recipe is a sum, then stages after |.",
        ")": "This parenthesis closes nothing, or closes nothing yet.",
        '"': "The quote is not closed, or an operator is missing before it.",
        "'": "The quote is not closed, or an operator is missing before it.",
    }
    if found in known:
        return known[found]
    if found.isupper():
        return "Names are lower-case [a-z0-9][a-z0-9._-]*; anything else takes quotes."
    return f"Unexpected {found!r}. A recipe is a sum such as 0.8*papercut + lcm-sd15 | dtype(fp16)."
