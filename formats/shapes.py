"""Which weight shape an adapter's tensors imply, for comparison with the module table."""

import math
from collections.abc import Mapping

from formats.architecture import ModuleSpec

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Role -> shape of one module's tensors."""


def implied_shape(shapes: Shapes) -> Shape | None:
    """The weight shape (out, in[, k, k]) that one module's tensors imply; None where the kind does not tell.

    LoRA: up (out, r[, 1, 1]), down (r, in[, k, k]). LoHa: w1_a (out, r), w1_b (r, in). LoKr: w1 (a, b), w2 (c, d),
    each of them whole or factored, gives (a c, b d). A Tucker core (r, r, k, k) brings the kernel. A full difference
    is its own answer.
    Raises ValueError when the tensors contradict one another.
    """
    if "down" in shapes or "up" in shapes:
        return _low_rank(shapes)
    if {"hada_w1_a", "hada_w1_b"} <= shapes.keys():
        return _pair(shapes, "hada_w1", shapes.get("hada_t1"))
    if any(role.startswith("lokr_w1") for role in shapes) and any(role.startswith("lokr_w2") for role in shapes):
        return _kronecker(shapes)
    return shapes.get("diff")


def fits(spec: ModuleSpec, implied: Shape | None) -> bool:
    """Whether `implied` is the shape of `spec`'s weight, up to 1x1 kernels and a kernel folded into the inputs."""
    if implied is None:
        return True
    expected = _without_unit_kernel(spec.shape)
    return _without_unit_kernel(implied) in (expected, (expected[0], math.prod(expected[1:])))


def rank_of(shapes: Shapes) -> int | None:
    """The rank of one module's factors; None where the kind has none."""
    for role in ("down", "embedding_down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if shapes.get(role):
            return shapes[role][0]
    return None


def _low_rank(shapes: Shapes) -> Shape:
    if not {"down", "up"} <= shapes.keys():
        raise ValueError("down and up do not come as a pair")
    down, up = shapes["down"], shapes["up"]
    if len(down) < 2 or len(up) < 2 or down[0] != up[1] or down[0] < 1 or math.prod(up[2:]) != 1:
        raise ValueError(f"down {list(down)} and up {list(up)} are no factors of one rank")
    return (up[0], down[1], *(shapes["mid"][2:] if "mid" in shapes else down[2:]))


def _pair(shapes: Shapes, name: str, core: Shape | None) -> Shape:
    left, right = shapes[f"{name}_a"], shapes[f"{name}_b"]
    if len(left) != 2 or len(right) != 2 or left[0 if core else 1] != right[0]:
        raise ValueError(f"{name}_a {list(left)} and {name}_b {list(right)} are no factors of one rank")
    return (left[1], right[1], *core[2:]) if core else (left[0], right[1])


def _kronecker(shapes: Shapes) -> Shape:
    first = shapes["lokr_w1"] if "lokr_w1" in shapes else _pair(shapes, "lokr_w1", None)
    second = shapes["lokr_w2"] if "lokr_w2" in shapes else _pair(shapes, "lokr_w2", shapes.get("lokr_t2"))
    if len(first) != 2 or len(second) < 2:
        raise ValueError(f"w1 {list(first)} and w2 {list(second)} are no Kronecker factors")
    return (first[0] * second[0], first[1] * second[1], *second[2:])


def _without_unit_kernel(shape: Shape) -> Shape:
    return shape[:2] if math.prod(shape[2:]) == 1 else shape
