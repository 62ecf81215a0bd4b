"""What a module table leaves out: biases, and normalisations, each of them named after the module that it feeds."""

from collections.abc import Mapping
from functools import lru_cache

from formats.architecture import Architecture, ModuleSpec
from formats.errors import UnknownModule

FED_BY: Mapping[str, str] = {
    ".conv1": ".norm1",
    ".conv2": ".norm2",
    ".proj_in": ".norm",
    ".attn1.to_q": ".norm1",
    ".attn2.to_q": ".norm2",
    ".ff.net.0.proj": ".norm3",
    ".conv_out": ".conv_norm_out",
    ".self_attn.q_proj": ".layer_norm1",
    ".mlp.fc1": ".layer_norm2",
}
"""End of a module's name -> end of the name of the normalisation whose output it reads."""

FIRST, LAST = ".embeddings.token_embedding", ".final_layer_norm"
"""A text encoder's width is that of its token embedding; its last normalisation feeds no module of its own."""


def norm_widths(architecture: Architecture) -> dict[str, int]:
    """Every normalisation of `architecture` and its width: the inputs of the module that it feeds."""
    found: dict[str, int] = {}
    for module, spec in architecture.modules.items():
        if module.endswith(FIRST):
            found[module.removesuffix(FIRST) + LAST] = spec.shape[1]
        for end, norm in FED_BY.items():
            if module.endswith(end):
                found[module.removesuffix(end) + norm] = spec.shape[1]
    return found


def spec_of(architecture: Architecture, name: str) -> ModuleSpec:
    """What `name` is: a module of the table, `<module>.bias`, or a normalisation's `<norm>.weight` and `<norm>.bias`.

    Raises UnknownModule for any other name. Which modules have a bias is the base's affair: none is refused here.
    """
    spec = architecture.modules.get(name)
    if spec is not None:
        return spec
    owner, _, end = name.rpartition(".")
    width = _widths(architecture).get(owner)
    if width is not None and end in ("weight", "bias"):
        return ModuleSpec("channel", (width,))
    spec = architecture.modules.get(owner)
    if spec is None or end != "bias" or spec.kind == "embedding":
        raise UnknownModule(
            f"{name}: not a module of {architecture.name}, nor a bias or normalisation. Check the base."
        )
    return ModuleSpec("channel", spec.shape[:1])


@lru_cache(maxsize=16)
def _widths(architecture: Architecture) -> Mapping[str, int]:
    return norm_widths(architecture)
