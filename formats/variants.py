"""Bases that differ from their family in one known place: the inputs of the first convolution, or one added module."""

from collections.abc import Iterator, Mapping

from formats.architecture import Architecture

STANDARD = "standard"

LATENT_CHANNELS = 4
FIRST_CONVOLUTION = "unet.conv_in"
INPUT_CHANNELS: Mapping[str, int] = {"inpaint": 9, "depth": 5, "pix2pix": 8}
"""Variant -> the channels that its U-Net reads: the latents, and a mask or picture or depth beside them."""

GUIDANCE_EMBEDDING = "unet.time_embedding.cond_proj"
GUIDANCE_WIDTH = 256
"""diffusers' time_cond_proj_dim of every published latent consistency model."""

ADDED: Mapping[str, str] = {
    GUIDANCE_EMBEDDING: "lcm",
    "unet.class_embedding.linear_1": "unclip",
    "unet.class_embedding.linear_2": "unclip",
}
"""A module that the family does not have -> the variant that adds it."""

Modules = Mapping[str, tuple[int, ...]]
"""Name -> shape of the weight."""


def variant_modules(architecture: Architecture) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(variant, module, shape) of what an adapter of a variant can adapt beyond the family's own modules."""
    first = architecture.modules.get(FIRST_CONVOLUTION)
    if first is None or first.shape[1] != LATENT_CHANNELS:
        return
    for variant, channels in INPUT_CHANNELS.items():
        yield variant, FIRST_CONVOLUTION, (first.shape[0], channels, *first.shape[2:])
    yield ADDED[GUIDANCE_EMBEDDING], GUIDANCE_EMBEDDING, (first.shape[0], GUIDANCE_WIDTH)


def variants_between(own: Modules, family: Modules) -> tuple[dict[str, str], tuple[str, ...]]:
    """How a base with the modules `own` differs from `family`: {variant: where}, and what no variant explains."""
    found: dict[str, str] = {}
    unexplained = []
    for module in sorted(own.keys() | family.keys()):
        mine, theirs = own.get(module), family.get(module)
        if _is_same(mine, theirs):
            continue
        variant = _variant(module, mine, theirs)
        if variant is None:
            unexplained.append(module)
        elif mine is not None:
            found[variant] = f"{module} is {list(mine)}"
    return found, tuple(unexplained)


def _variant(module: str, mine: tuple[int, ...] | None, theirs: tuple[int, ...] | None) -> str | None:
    if mine is None:
        return None
    if theirs is None:
        return ADDED.get(module)
    if module != FIRST_CONVOLUTION or theirs[1] != LATENT_CHANNELS or mine[0] != theirs[0] or mine[2:] != theirs[2:]:
        return None
    return next((name for name, channels in INPUT_CHANNELS.items() if mine[1] == channels), None)


def _is_same(mine: tuple[int, ...] | None, theirs: tuple[int, ...] | None) -> bool:
    """Whether two weights have one shape; a linear layer may be written as a 1x1 convolution."""
    if mine is None or theirs is None or mine == theirs:
        return mine == theirs
    return {mine[2:], theirs[2:]} == {(), (1, 1)} and mine[:2] == theirs[:2]
