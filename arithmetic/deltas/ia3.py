"""IA3: a factor for each input or output of the base's weight (Liu et al. 2022, 2205.05638)."""

from torch import Tensor


def lycoris_ia3(base: Tensor, vector: Tensor, is_of_inputs: bool, strength: float) -> Tensor:
    """strength * w W0 in float64: the weight becomes (1 + strength * w) W0 (lycoris-lora 4.1, modules/ia3.py).

    W0 (m, n, k*k); w one number for each input or output. Biases stay.
    """
    return strength * _along(vector, is_of_inputs) * base


def peft_ia3(base: Tensor, vector: Tensor, is_of_inputs: bool) -> Tensor:
    """(l - 1) W0 in float64: the weight becomes l W0, as does a bias where l is of outputs (peft 0.21)."""
    return (_along(vector, is_of_inputs) - 1) * base


def _along(vector: Tensor, is_of_inputs: bool) -> Tensor:
    return vector.reshape(1, -1, 1) if is_of_inputs else vector.reshape(-1, 1, 1)
