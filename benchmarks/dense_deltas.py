"""What files change, as dense float64 matrices, read without the engine: the truth that results are compared with.

Read are the layouts that the parties to a benchmark write: kohya files, PEFT folders, and dense deltas as sd-mecha
writes them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

PEFT_PREFIX = "base_model.model."

Factors = tuple[np.ndarray, np.ndarray]


class Weights:
    """One file or PEFT folder; names of modules begin `unet.`."""

    def __init__(self, path: Path) -> None:
        self._config: dict[str, Any] = {}
        if path.is_dir():
            self._config = json.loads((path / "adapter_config.json").read_text())
            path = path / "adapter_model.safetensors"
        self._file = safe_open(str(path), framework="numpy")
        self._keys = frozenset(self._file.keys())

    def factors(self, module: str) -> Factors | None:
        """scale * up as (m, r) and down as (r, n*k*k) in float64; None where the module has none."""
        if self._config:
            stem, up, down = PEFT_PREFIX + module.removeprefix("unet."), ".lora_B.weight", ".lora_A.weight"
        else:
            stem, up, down = "lora_" + module.replace(".", "_"), ".lora_up.weight", ".lora_down.weight"
        if stem + down not in self._keys:
            return None
        b, a = self._matrix(stem + up), self._matrix(stem + down)
        alpha = self._config["lora_alpha"] if self._config else float(self._file.get_tensor(f"{stem}.alpha"))
        return b * (alpha / len(a)), a

    def largest_rank(self, modules: Sequence[str]) -> int:
        """Of any of the modules' factors; 0 where there are none."""
        found = (self.factors(module) for module in modules)
        return max((len(factors[1]) for factors in found if factors is not None), default=0)

    def delta(self, module: str) -> np.ndarray:
        """(m, n*k*k) in float64. Raises KeyError where the file does not have the module."""
        factors = self.factors(module)
        return self._matrix(f"{module}.weight") if factors is None else factors[0] @ factors[1]

    def _matrix(self, key: str) -> np.ndarray:
        tensor = self._file.get_tensor(key)
        return tensor.reshape(len(tensor), -1).astype(np.float64)


def intended(terms: Sequence[tuple[float, Weights]], module: str) -> np.ndarray:
    """sum_i lambda_i dW_i: (m, n*k*k) in float64."""
    b, a = stacked(terms, module)
    return b @ a


def stacked(terms: Sequence[tuple[float, Weights]], module: str) -> Factors:
    """The same as the factors of the summed rank: (m, R) and (R, n*k*k) in float64."""
    parts = [(weight, weights.factors(module)) for weight, weights in terms]
    found = [(weight * factors[0], factors[1]) for weight, factors in parts if factors is not None]
    return np.concatenate([b for b, _ in found], axis=1), np.concatenate([a for _, a in found])


def relative_errors(
    terms: Sequence[tuple[float, Weights]], results: Mapping[str, Weights], modules: Sequence[str]
) -> dict[str, float]:
    """Result -> the worst ||result - intended|| / ||intended|| (Frobenius) of any module."""
    worst = dict.fromkeys(results, 0.0)
    for module in modules:
        truth = intended(terms, module)
        norm = np.linalg.norm(truth)
        for name, result in results.items():
            worst[name] = max(worst[name], float(np.linalg.norm(result.delta(module) - truth) / norm))
    return worst


def excess_errors(
    terms: Sequence[tuple[float, Weights]], results: Mapping[str, Weights], modules: Sequence[str], rank: int
) -> dict[str, dict[str, float]]:
    """Result -> how far it is beyond the best answer of that rank (Eckart-Young), and the error itself, at worst.

    `excess` is ||result - intended|| / sqrt(sum of the squared singular values after the first `rank`) - 1.
    """
    found = {name: {"excess": -1.0, "error": 0.0} for name in results}
    for module, truth, best in _optima(terms, modules, rank):
        norm = np.linalg.norm(truth)
        for name, result in results.items():
            error = float(np.linalg.norm(result.delta(module) - truth))
            found[name]["excess"] = max(found[name]["excess"], error / best - 1)
            found[name]["error"] = max(found[name]["error"], error / float(norm))
    return found


def _optima(
    terms: Sequence[tuple[float, Weights]], modules: Sequence[str], rank: int
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Each module that has a singular value after the first `rank`, its sum, and the norm of what is after them."""
    for module in modules:
        b, a = stacked(terms, module)
        left, right = np.linalg.qr(b, mode="r"), np.linalg.qr(a.T, mode="r")
        rest = np.linalg.svd(left @ right.T, compute_uv=False)[rank:]
        if rest.any():
            yield module, b @ a, float(np.linalg.norm(rest))
