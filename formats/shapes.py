"""Which weight shape an adapter's tensors imply, for comparison with the module table."""

import math
from collections.abc import Callable, Mapping

from formats.marks import KIND_OF_ROLE

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Role -> shape of one module's tensors."""

ONE_A_ROW = ("diff_b", "b_norm", "up_bias", "oft_s", "boft_s")
"""Roles whose tensor has one number for each output."""

ONE_A_ROW_OR_COLUMN = ("ia3_l", "magnitude")
"""Roles whose tensor has one number for each output or for each input."""


def implied_shape(shapes: Shapes) -> Shape | None:
    """The weight shape (out, in[, k, k]) that one module's tensors imply; None where the kind does not tell.

    LoRA: up (out, r[, 1, 1]), down (r, in[, k, k]). LoHa: w1_a (out, r), w1_b (r, in). LoKr: w1 (a, b), w2 (c, d),
    each of them whole or factored, gives (a c, b d). A Tucker core (r, r, k, k) brings the kernel. GLoRA: b1 and b2
    are up and down, in either order. A full difference is its own answer.
    Raises ValueError when the tensors contradict one another.
    """
    for is_there, shape_of in _RULES:
        if is_there(shapes):
            return shape_of(shapes)
    return next((shapes[role] for role in ("diff", "set_weight", "w_norm") if role in shapes), None)


def contradiction(shapes: Shapes, expected: Shape) -> Shape | str | None:
    """None where the tensors can adapt a weight of shape `expected`; else the shape that they imply, or the reason.

    1x1 kernels, and a kernel that is folded into the inputs, make no difference.
    """
    if not shapes.keys() & KIND_OF_ROLE.keys():
        return f"{' and '.join(shapes)} alone"
    try:
        implied = implied_shape(shapes)
    except ValueError as error:
        return str(error)
    if implied is not None and not _is_one_weight(implied, expected):
        return implied
    return _sides(shapes, expected)


def rank_of(shapes: Shapes) -> int | None:
    """The rank of one module's factors; None where the kind has none."""
    for role in ("down", "embedding_down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if shapes.get(role):
            return shapes[role][0]
    return min(shapes["b1"][:2]) if len(shapes.get("b1", ())) > 1 else None


def _is_one_weight(implied: Shape, expected: Shape) -> bool:
    plain = _without_unit_kernel(expected)
    return _without_unit_kernel(implied) in (plain, (*plain[:1], math.prod(plain[1:])))


def _sides(shapes: Shapes, expected: Shape) -> str | None:
    """What contradicts the number of outputs or inputs, among the pieces that tell no more."""
    rows, columns = expected[0], expected[1] if len(expected) > 1 else expected[0]
    if "oft_blocks" in shapes:
        blocks = shapes["oft_blocks"]
        if len(blocks) not in (3, 4) or blocks[-1] != blocks[-2] or blocks[-3] * blocks[-2] != rows:
            return f"oft_blocks {list(blocks)} do not rotate {rows} outputs"
    if "boft_r" in shapes:
        blocks, columns = shapes["boft_r"], math.prod(expected[1:])
        if len(blocks) != 4 or blocks[-1] != blocks[-2] or blocks[-3] * blocks[-2] != columns:
            return f"boft_R {list(blocks)} does not rotate {columns} inputs"
    if len(shapes.get("oft_r", ())) == 2:
        return _rotation(shapes["oft_r"], math.prod(expected[1:]))
    for role in (*ONE_A_ROW, *ONE_A_ROW_OR_COLUMN):
        if role in shapes:
            allowed = (rows,) if role in ONE_A_ROW else (rows, columns)
            if math.prod(shapes[role]) not in allowed:
                return f"{role} {list(shapes[role])} is none of {' or '.join(map(str, sorted(set(allowed))))} numbers"
    return None


def _rotation(blocks: Shape, columns: int) -> str | None:
    """PEFT's OFT keeps the b (b - 1) / 2 free numbers of each b x b rotation of the inputs; one block may serve all."""
    count, free = blocks
    size = (1 + math.isqrt(1 + 8 * free)) // 2
    if size * (size - 1) // 2 == free and (count * size == columns or count == 1):
        return None
    return f"oft_R {list(blocks)} does not rotate {columns} inputs"


def _low_rank(shapes: Shapes) -> Shape:
    if not {"down", "up"} <= shapes.keys():
        raise ValueError("down and up do not come as a pair")
    down, up = shapes["down"], shapes["up"]
    if len(down) < 2 or len(up) < 2 or down[0] != up[1] or down[0] < 1 or math.prod(up[2:]) != 1:
        raise ValueError(f"down {list(down)} and up {list(up)} are no factors of one rank")
    core = shapes.get("mid")
    if core is not None and core[:2] != (up[1], down[0]):
        raise ValueError(f"mid {list(core)} is no core between down {list(down)} and up {list(up)}")
    return (up[0], down[1], *(core[2:] if core is not None else down[2:]))


def _embedding(shapes: Shapes) -> Shape:
    """PEFT keeps an embedding's factors turned: A (r, count), B (width, r)."""
    down, up = shapes.get("embedding_down", ()), shapes.get("embedding_up", ())
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        raise ValueError(f"lora_embedding_A {list(down)} and lora_embedding_B {list(up)} are no factors of one rank")
    return (down[1], up[0])


def _hadamard(shapes: Shapes) -> Shape:
    first = _pair(shapes, "hada_w1", shapes.get("hada_t1"))
    second = _pair(shapes, "hada_w2", shapes.get("hada_t2"))
    if first != second:
        raise ValueError(f"hada_w1 gives {list(first)} and hada_w2 gives {list(second)}, expected one shape")
    return first


def _kronecker(shapes: Shapes) -> Shape:
    first = shapes["lokr_w1"] if "lokr_w1" in shapes else _pair(shapes, "lokr_w1", shapes.get("lokr_t1"))
    second = shapes["lokr_w2"] if "lokr_w2" in shapes else _pair(shapes, "lokr_w2", shapes.get("lokr_t2"))
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"w1 {list(first)} and w2 {list(second)} are no Kronecker factors")
    return (first[0] * second[0], first[1] * second[1], *(second[2:] or first[2:]))


def _pair(shapes: Shapes, name: str, core: Shape | None) -> Shape:
    left, right = shapes.get(f"{name}_a", ()), shapes.get(f"{name}_b", ())
    if len(left) != 2 or len(right) != 2 or left[0 if core else 1] != right[0]:
        raise ValueError(f"{name}_a {list(left)} and {name}_b {list(right)} are no factors of one rank")
    return (left[1], right[1], *core[2:]) if core else (left[0], right[1])


def _general(shapes: Shapes) -> Shape:
    """GLoRA W' = W + W A + B, A = a1 a2 and B = b1 b2; its first files have both products the other way round."""
    first, second = shapes.get("b1", ()), shapes.get("b2", ())
    is_product = len(first) > 1 and len(second) > 1 and first[1] == second[0]
    is_turned = len(first) > 1 and len(second) > 1 and second[1] == first[0]
    if is_product and not (is_turned and first[0] < first[1]):
        return (first[0], *second[1:])
    if is_turned:
        return (second[0], *first[1:])
    raise ValueError(f"b1 {list(first)} and b2 {list(second)} are no factors of one rank")


def _without_unit_kernel(shape: Shape) -> Shape:
    return shape[:2] if math.prod(shape[2:]) == 1 else shape


def _has(*beginnings: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(role.startswith(beginnings) for role in shapes)


_RULES: tuple[tuple[Callable[[Shapes], bool], Callable[[Shapes], Shape]], ...] = (
    (lambda shapes: "down" in shapes or "up" in shapes, _low_rank),
    (_has("embedding_"), _embedding),
    (_has("hada_"), _hadamard),
    (_has("lokr_"), _kronecker),
    (lambda shapes: "b1" in shapes or "b2" in shapes, _general),
)
