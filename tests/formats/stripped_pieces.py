"""What each kind of adapter stores for a weight: the end of a key -> the shape of its tensor."""

from collections.abc import Callable, Mapping

from stripped_networks import Shape, Shapes, Spell


def lora(shape: Shape, rank: int = 16, alpha: bool = True) -> Shapes:
    """down (r, in, k, k), up (out, r, 1, 1)."""
    out, inside, *kernel = shape
    ones = [1 for _ in kernel]
    pieces = {"lora_down.weight": (rank, inside, *kernel), "lora_up.weight": (out, rank, *ones)}
    return pieces | ({"alpha": ()} if alpha else {})


def tucker(shape: Shape, rank: int = 8) -> Shapes:
    """down (r, in, 1, 1), mid (r, r, k, k), up (out, r, 1, 1) for a convolution."""
    out, inside, *kernel = shape
    if len(kernel) < 2 or kernel[0] == 1:
        return lora(shape, rank)
    down, up = (rank, inside, 1, 1), (out, rank, 1, 1)
    return {"lora_down.weight": down, "lora_mid.weight": (rank, rank, *kernel), "lora_up.weight": up, "alpha": ()}


def loha(shape: Shape, rank: int = 8) -> Shapes:
    """w1_a (out, r), w1_b (r, in k k), w2 alike."""
    out, inside, *kernel = shape
    for size in kernel:
        inside *= size
    return {f"hada_w{i}_{s}": (out, rank) if s == "a" else (rank, inside) for i in (1, 2) for s in "ab"} | {"alpha": ()}


def loha_tucker(shape: Shape, rank: int = 8) -> Shapes:
    """t (r, r, k, k), w_a (r, out), w_b (r, in) for a convolution."""
    out, inside, *kernel = shape
    if len(kernel) < 2 or kernel[0] == 1:
        return loha(shape, rank)
    pairs = {f"hada_w{i}_{s}": (rank, out if s == "a" else inside) for i in (1, 2) for s in "ab"}
    return {"hada_t1": (rank, rank, *kernel), "hada_t2": (rank, rank, *kernel), **pairs, "alpha": ()}


def lokr(first: str, second: str, factor: int = 8, rank: int = 4) -> Callable[[Shape], Shapes]:
    """w1 (f, f) and w2 (out / f, in / f, k, k), each whole or factored; `second` may be a Tucker core."""

    def pieces(shape: Shape) -> Shapes:
        out, inside, *kernel = shape
        rows, columns = out // factor, inside // factor
        made: Shapes = {"lokr_w1": (factor, factor)}
        if first == "factored":
            made = {"lokr_w1_a": (factor, 2), "lokr_w1_b": (2, factor)}
        if second == "whole":
            return made | {"lokr_w2": (rows, columns, *kernel), "alpha": ()}
        if second == "tucker" and len(kernel) == 2 and kernel[0] > 1:
            pair = {"lokr_w2_a": (rank, rows), "lokr_w2_b": (rank, columns)}
            return made | {"lokr_t2": (rank, rank, *kernel), **pair, "alpha": ()}
        for size in kernel:
            columns *= size
        return made | {"lokr_w2_a": (rows, rank), "lokr_w2_b": (rank, columns), "alpha": ()}

    return pieces


def glora(shape: Shape, rank: int = 8) -> Shapes:
    """A = a1 a2 of (in, in), B = b1 b2 of (out, in)."""
    out, inside = shape[:2]
    a, b = (
        {"a1.weight": (inside, rank), "a2.weight": (rank, inside)},
        {"b1.weight": (out, rank), "b2.weight": (rank, inside)},
    )
    return a | b | {"alpha": ()}


def first_glora(shape: Shape, rank: int = 8) -> Shapes:
    """The products the other way round, as the first version wrote them."""
    out, inside = shape[:2]
    a, b = (
        {"a1.weight": (rank, inside), "a2.weight": (inside, rank)},
        {"b1.weight": (rank, inside), "b2.weight": (out, rank)},
    )
    return a | b | {"alpha": ()}


def oft(shape: Shape, blocks: int = 4) -> Shapes:
    """Rotations of the outputs, in blocks; alpha is the constraint."""
    return {"oft_blocks": (blocks, shape[0] // blocks, shape[0] // blocks), "alpha": ()}


def oft_diag(shape: Shape, blocks: int = 4) -> Shapes:
    """The rotations as LyCORIS first called them, without a constraint."""
    return {"oft_diag": (blocks, shape[0] // blocks, shape[0] // blocks)}


def boft(shape: Shape, blocks: int = 8) -> Shapes:
    """Rotations in a butterfly of three steps."""
    size = shape[0] // blocks
    return {"oft_blocks": (3, blocks, size, size), "rescale": (shape[0], *(1 for _ in shape[1:])), "alpha": ()}


def peft_boft(shape: Shape, size: int = 8) -> Shapes:
    """The butterfly as PEFT keeps it: rotations of the inputs, and a factor for each output."""
    return {"boft_R": (2, shape[1] // size, size, size), "boft_s": (shape[0], 1)}


def ia3(shape: Shape) -> Shapes:
    """One factor for each output."""
    return {"weight": (shape[0], *(1 for _ in shape[1:])), "on_input": ()}


def full(shape: Shape) -> Shapes:
    """The whole difference."""
    return {"diff": shape, "diff_b": (shape[0],)}


def dora(shape: Shape) -> Shapes:
    """LoRA with a magnitude for each output."""
    return lora(shape) | {"dora_scale": (shape[0], *(1 for _ in shape[1:]))}


def dora_by_input(shape: Shape) -> Shapes:
    """LoKr with a magnitude for each input, as LyCORIS has it."""
    return lokr("whole", "factored")(shape) | {"dora_scale": (1, *shape[1:2], *(1 for _ in shape[2:]))}


def spelled(modules: Mapping[str, Shape], spell: Spell, pieces: Callable[[Shape], Shapes]) -> Shapes:
    """The keys of an adapter of `modules`."""
    return {f"{spell(name)}.{end}": shape for name, full in modules.items() for end, shape in pieces(full).items()}


def in_peft(keys: Shapes) -> Shapes:
    """The same factors under diffusers' new ends, without alphas."""
    ends = {".lora_down.weight": ".lora_A.weight", ".lora_up.weight": ".lora_B.weight"}
    renamed = {key: shape for key, shape in keys.items() if not key.endswith(".alpha")}
    for old, new in ends.items():
        renamed = {key.replace(old, new): shape for key, shape in renamed.items()}
    return renamed
