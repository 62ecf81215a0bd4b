"""Recipes that are kept in files: over several lines, with `#` comments."""

import sys
from pathlib import Path

FROM_FILE = "@"
STDIN = "-"


def recipe_text(argument: str) -> str:
    """The recipe that an argument gives: itself, the file of `@FILE`, or standard input for `-`.

    From a file or standard input it comes in its canonical form, without comments. No recipe begins with @. Paths in it
    are meant from where the command runs, as on the command line.

    Raises FileNotFoundError, RecipeSyntaxError with the line and a caret, RecipeError for what is no text.
    """
    if argument == STDIN:
        return _without_comments(sys.stdin.read())
    if argument.startswith(FROM_FILE):
        return _without_comments(_read(Path(argument.removeprefix(FROM_FILE)).expanduser()))
    return argument


def _read(path: Path) -> str:
    from arithmetic import RecipeError

    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is no text in UTF-8. Name the file that holds the recipe.") from error


def _without_comments(text: str) -> str:
    from arithmetic import parse

    return str(parse(text, comments=True))
