"""The words of the shapes world: 2 sizes x 6 colours x 4 shapes x 3 backgrounds = 144 captions."""

import itertools
from typing import NamedTuple

import numpy as np

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": ("small", "large"),
    "colour": ("red", "green", "blue", "yellow", "purple", "cyan"),
    "shape": ("circle", "square", "triangle", "cross"),
    "background": ("white", "black", "gray"),
}
"""Attribute name -> its values, in the order in which a caption says them."""


class Attributes(NamedTuple):
    """What one caption states about a picture."""

    size: str
    colour: str
    shape: str
    background: str


def caption(attributes: Attributes) -> str:
    """The caption that states `attributes`, e.g. "a large red circle on a white background"."""
    size, colour, shape, background = attributes
    return f"a {size} {colour} {shape} on a {background} background"


def parse_caption(text: str) -> Attributes:
    """The attributes that `text` states; the inverse of `caption`.

    Raises ValueError when `text` is not one of the world's 144 captions.
    """
    words = text.split()
    if len(words) == 8:
        attributes = Attributes(words[1], words[2], words[3], words[6])
        if attributes in _ALL and caption(attributes) == text:
            return attributes
    raise ValueError(f"{text!r} is not a caption of the shapes world; one is {caption(all_attributes()[0])!r}")


def all_attributes() -> list[Attributes]:
    """All 144 combinations, in a fixed order."""
    return [Attributes(*values) for values in itertools.product(*ATTRIBUTES.values())]


def corrupt(captions: list[str], rng: np.random.Generator, *, wrong: float = 0.4, empty: float = 0.1) -> list[str]:
    """Captions as noisy as the web's: a share `empty` becomes "", a share `wrong` of the rest a random caption.

    Without the noise a conditional model needs no guidance, and few-step solvers cannot be told from distilled ones.
    """
    every = [caption(attributes) for attributes in all_attributes()]
    blank = rng.random(len(captions)) < empty
    replaced = rng.random(len(captions)) < wrong
    other = rng.integers(len(every), size=len(captions))
    return ["" if blank[i] else every[other[i]] if replaced[i] else text for i, text in enumerate(captions)]


_ALL = frozenset(all_attributes())
