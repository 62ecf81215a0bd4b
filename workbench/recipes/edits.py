"""Small changes to a recipe's text, as sliders and buttons make them: text in, canonical text out, nothing looked up.

What a slider cannot show stays as it was written: calls, groups, regular expressions, block lists, stages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.errors import UnknownTerm

if TYPE_CHECKING:
    from arithmetic import Recipe, Scope, Term

PARTS: Mapping[str, str] = {
    "unet.down": "Down blocks",
    "unet.mid": "Middle block",
    "unet.up": "Up blocks",
    "te": "Text encoder",
    "te2": "Second text encoder",
}
"""The parts of a network that have a slider of their own: as a scope names them, and as people do."""


@dataclass(frozen=True)
class TermText:
    """One term of a recipe's outermost sum, as it is written."""

    position: int
    text: str
    """What the strength multiplies, with its scopes."""
    reference: str | None
    """What the term refers to; None for a method or a group."""
    strength: float
    parts: Mapping[str, float]
    """Factors of the parts of the network that differ from 1."""
    other_scopes: str
    """The scopes that no slider shows; empty where there are none."""


def terms_of(text: str) -> tuple[TermText, ...]:
    """The terms in the order written; none of an empty text. Raises RecipeSyntaxError."""
    if not text.strip():
        return ()
    return tuple(_term_text(place, term) for place, term in enumerate(_parsed(text).terms))


def canonical(text: str) -> str:
    """The one way to write this recipe; an empty text stays empty. Raises RecipeSyntaxError."""
    return str(_parsed(text)) if text.strip() else ""


def with_strength(text: str, position: int, strength: float) -> str:
    """The same with another strength of the term at `position`. Raises RecipeSyntaxError, UnknownTerm."""
    return _changed(text, position, lambda term: replace(term, weight=strength + 0.0))


def with_reference(text: str, position: int, reference: str) -> str:
    """The same with another version in the term at `position`. Raises RecipeSyntaxError, UnknownTerm."""
    from arithmetic import Reference

    return _changed(text, position, lambda term: replace(term, atom=Reference(reference)))


def with_part(text: str, position: int, part: str, factor: float) -> str:
    """The same with the strength of the term at `position` multiplied by `factor` in one of PARTS; 1 says nothing.

    The scopes that the term has already stay, and go on multiplying. Raises RecipeSyntaxError, UnknownTerm.
    """

    def change(term: "Term") -> "Term":
        kept, own = _separated(term)
        factors = {**_factors(own), part: factor}
        return replace(term, scopes=(*kept, *_scopes({name: factors[name] for name in PARTS if name in factors})))

    return _changed(text, position, change)


def with_term(text: str, reference: str, strength: float = 1.0) -> str:
    """The same with one more term after the others, before the stages. Raises RecipeSyntaxError."""
    from arithmetic import Recipe, Reference, Term

    term = Term(strength, Reference(reference))
    if not text.strip():
        return str(Recipe((term,)))
    recipe = _parsed(text)
    return str(replace(recipe, terms=(*recipe.terms, term)))


def without_term(text: str, position: int) -> str:
    """The same without the term at `position`; without its only term it is empty, its stages with it.

    Raises RecipeSyntaxError, UnknownTerm.
    """
    recipe = _parsed(text)
    _require_term(recipe, position)
    rest = recipe.terms[:position] + recipe.terms[position + 1 :]
    return str(replace(recipe, terms=rest)) if rest else ""


def with_references(text: str, names: Mapping[str, str]) -> str:
    """The same with every reference that `names` knows replaced, wherever it stands. Raises RecipeSyntaxError."""
    if not text.strip():
        return ""
    return str(_parsed(text).lock(lambda reference: names.get(reference, reference)))


def with_word(prompt: str, word: str) -> str:
    """The prompt with a trigger word at its end, where it has it not yet."""
    if has_word(prompt, word):
        return prompt
    kept = prompt.strip().rstrip(",").rstrip()
    return f"{kept}, {word}" if kept else word


def without_word(prompt: str, word: str) -> str:
    """The prompt without that word between commas; a word inside a sentence is the writer's and stays."""
    return ", ".join(part for part in _phrases(prompt) if part.casefold() != word.strip().casefold())


def has_word(prompt: str, word: str) -> bool:
    """Whether the word stands between commas of the prompt."""
    return word.strip().casefold() in {part.casefold() for part in _phrases(prompt)}


def _phrases(prompt: str) -> list[str]:
    return [part for part in (piece.strip() for piece in prompt.split(",")) if part]


def _parsed(text: str) -> "Recipe":
    from arithmetic import parse

    return parse(text)


def _changed(text: str, position: int, change: "Callable[[Term], Term]") -> str:
    recipe = _parsed(text)
    _require_term(recipe, position)
    terms = [change(term) if place == position else term for place, term in enumerate(recipe.terms)]
    return str(replace(recipe, terms=tuple(terms)))


def _require_term(recipe: "Recipe", position: int) -> None:
    if not 0 <= position < len(recipe.terms):
        raise UnknownTerm(f"{recipe}: has {len(recipe.terms)} terms, none at position {position}; count from 0")


def _term_text(position: int, term: "Term") -> TermText:
    from arithmetic import Reference

    kept, own = _separated(term)
    return TermText(
        position,
        f"{term.atom}{''.join(map(str, term.scopes))}",
        term.atom.text if isinstance(term.atom, Reference) else None,
        term.weight,
        _factors(own),
        "".join(map(str, kept)),
    )


def _separated(term: "Term") -> "tuple[tuple[Scope, ...], Scope | None]":
    """The scopes that are the writer's, and the last one where sliders can show it whole."""
    if term.scopes and _is_of_parts(term.scopes[-1]):
        return term.scopes[:-1], term.scopes[-1]
    return term.scopes, None


def _is_of_parts(scope: "Scope") -> bool:
    from arithmetic import Block, Rule

    names = [rule.selector.name for rule in scope.rules if isinstance(rule, Rule) and isinstance(rule.selector, Block)]
    return scope.otherwise == 1 and len(names) == len(set(names)) == len(scope.rules) and set(names) <= set(PARTS)


def _factors(scope: "Scope | None") -> dict[str, float]:
    """Part -> factor of a scope that sliders can show."""
    return {} if scope is None else {str(rule).partition(":")[0]: rule.weight for rule in scope.rules}  # type: ignore[union-attr]


def _scopes(factors: Mapping[str, float]) -> "tuple[Scope, ...]":
    from arithmetic import Block, Rule, Scope

    rules = tuple(Rule(Block(part), factor) for part, factor in factors.items() if factor != 1)
    return (Scope(rules),) if rules else ()
