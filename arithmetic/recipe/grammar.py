"""The text of a recipe as a syntax tree, and what is wrong with a text that has none."""

import re
from functools import cache
from importlib.resources import files

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

from arithmetic.errors import RecipeSyntaxError

BRACKETS = {"(": ")", "{": "}", "[": "]"}
NAMES = {"(": "parenthesis", "{": "brace", "[": "bracket"}
QUOTED = re.compile(r'"([^"\\\n]|\\.)*"|\'[^\'\n]*\'')
STAGE_WORD = re.compile(r"\|\s*[a-z]+$")

HINTS = {
    "/": "There is no division, and a path starts with ./ or takes quotes.",
    "{": "A scope in braces follows a vector, a method or a parenthesis: 0.8*papercut{unet.down: 0.5}.",
    "}": "This brace closes nothing, or closes nothing yet.",
    "[": "A list of numbers stands in a scope, after lbw: papercut{lbw: [1, 0, ...]}.",
    "]": "This bracket closes nothing, or closes nothing yet.",
    "#": "Comments stand in recipe files only.",
    "(": "A parenthesis follows an operator or a method's name; a product is written 2*(a + b).",
    ")": "This parenthesis closes nothing, or closes nothing yet.",
    ",": "A comma stands between the arguments of a method: ties(a, b).",
    ";": "Options follow the arguments of a method: ties(a, b; density=0.3).",
    "=": "Options follow the arguments of a method: ties(a, b; density=0.3).",
    ":": "A name has one version, name:2, or one alias, name@production.",
    '"': "The quote is not closed, or an operator is missing before it.",
    "<": "What a prompt writes <lora:papercut:0.8> is written 0.8*papercut.",
    "'": "The quote is not closed, or an operator is missing before it.",
}


@cache
def _parser(comments: bool) -> Lark:
    grammar = files("arithmetic.recipe").joinpath("recipe.lark").read_text(encoding="utf-8")
    ignored = "\n%ignore COMMENT\n" if comments else ""
    return Lark(grammar + ignored, parser="lalr", lexer="contextual", propagate_positions=True)


def syntax_tree(text: str, *, comments: bool) -> Tree[Token]:
    """The tree of `text`; with `comments`, from # to the end of the line nothing is read.

    Raises:
        RecipeSyntaxError: with the place of the first thing that cannot be read.
    """
    if not text.strip():
        raise RecipeSyntaxError(text, 0, "The recipe is empty. Write a sum, such as 0.8*papercut + lcm-sd15.")
    try:
        return _parser(comments).parse(text)
    except UnexpectedInput as error:
        raise _explained(text, error) from None


def _explained(text: str, error: UnexpectedInput) -> RecipeSyntaxError:
    """The same error in the words of recipes."""
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return RecipeSyntaxError(text, len(text.rstrip()), _unfinished(text))
    position = error.pos_in_stream or 0
    if text[position:].strip() in ("+", "-", "*", "|"):
        return RecipeSyntaxError(text, len(text.rstrip()), _unfinished(text))
    return RecipeSyntaxError(text, position, _unexpected(text, position))


def _unfinished(text: str) -> str:
    still_open = _open_bracket(text)
    if still_open:
        return f"A {NAMES[still_open]} is not closed."
    return "The recipe ends where a vector was expected."


def _open_bracket(text: str) -> str | None:
    """The innermost bracket that `text` opens and does not close; those in quotes do not count."""
    opened: list[str] = []
    for letter in QUOTED.sub("", text):
        if letter in BRACKETS:
            opened.append(letter)
        elif opened and letter == BRACKETS[opened[-1]]:
            opened.pop()
    return opened[-1] if opened else None


def _unexpected(text: str, position: int) -> str:
    found = text[position]
    inside = _open_bracket(text[:position])
    if inside in ("{", "["):
        return f"Unexpected {found!r}. A scope reads {{unet.down: 0.5, /attn2/: 1.2, lbw: [1, 0, ...], else: 1}}."
    if found in "+-":
        return f"Binary {found} has a space on both sides, and stands between two vectors."
    if found in HINTS:
        return HINTS[found]
    if found.isupper():
        return "Names are lower-case [a-z0-9][a-z0-9._-]*; anything else takes quotes."
    before = text[:position].rstrip()
    if STAGE_WORD.search(before):
        return "A stage's argument stands in parentheses: | rank(64)."
    if before[-1:] not in ("", *"+-*|(,;=:{["):
        return f"An operator (+, - or *) is missing before {found!r}. A name or path with spaces takes quotes."
    return f"Unexpected {found!r}. A recipe is a sum such as 0.8*papercut + lcm-sd15 | dtype(fp16)."
