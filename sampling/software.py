"""The software that decides a picture's pixels, beside its settings and weights. Loads no torch."""

from functools import cache
from importlib.metadata import version

DECIDING = ("torch", "diffusers", "transformers", "peft")
"""Another version of one of them may paint other pixels."""


@cache
def software() -> dict[str, str]:
    """Package -> installed version, of all that takes part in painting."""
    return {name: version(name) for name in DECIDING}
