"""GLoRA: the base's weight times a low-rank matrix, and one added (Chavan et al. 2023, 2306.07967)."""

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def glora(base: Tensor, a: Pair, b: Pair, scale: float) -> Tensor:
    """scale * (W0 A + B) in float64, with A = a[0] a[1] on the inputs at each place of the kernel and B = b[0] b[1].

    W0 (m, n, k*k), a (n, r) and (r, n), b (m, r) and (r, n*k*k); at strength s the scale is s * alpha / r. As
    lycoris-lora 4.1, modules/glora.py, and ComfyUI, comfy/weight_adapter/glora.py.
    """
    through = torch.einsum("oik,ir,rj->ojk", base, *a)
    return scale * (through + (b[0] @ b[1]).reshape(base.shape))


def is_first_version(a1: tuple[int, ...], b1: tuple[int, ...], base: tuple[int, ...]) -> bool:
    """Whether the pairs are turned, a2 a1 and b2 b1, as LyCORIS first wrote them: by shapes, W0 being (m, n, k*k)."""
    return not (a1[0] == base[1] and b1[0] == base[0])
