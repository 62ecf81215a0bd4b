"""Writes merges.safetensors: what mergekit and sd-mecha make of three small deltas.

Run by hand in an environment that has both: python make_merges.py. The file's metadata names their versions.
Random merges come with the sparse deltas that they drew, and with how often each entry was kept in many draws.
"""

from importlib.metadata import version
from pathlib import Path

import torch
from mergekit.merge_methods.base import TensorGroup
from mergekit.merge_methods.registry import get
from mergekit.sparsify import RescaleNorm, SparsificationMethod, sparsify
from safetensors.torch import save_file
from sd_mecha.extensions.builtin.merge_methods.ties import find_della_dropout, ties_sum, ties_sum_with_dropout
from torch import Tensor

WEIGHTS = {"plain": (2.0, 1.0, 1.0), "scaled": (10.0, 5.0, 5.0), "mixed": (0.7, -0.5, 0.3)}
DENSITIES = (0.3, 0.5, 1.0)
DENSITY, EPSILON, DRAWS = 0.5, 0.15, 4000


def mergekit(name: str, deltas: list[Tensor], weights: tuple[float, ...], density: float) -> Tensor:
    """The method with its own defaults, on a base of zeros."""
    method = get(name)
    group = TensorGroup.from_tensors([torch.zeros_like(deltas[0]), *deltas], base_index=0)
    places = range(1, len(deltas) + 1)
    parameters = {
        "int8_mask": False,
        "normalize": method.default_normalize,
        "rescale": method.default_rescale,
        "lambda": 1.0,
        "weight": dict(zip(places, weights, strict=True)),
        "density": dict.fromkeys(places, density),
        "epsilon": dict.fromkeys(places, EPSILON),
    }
    return method.merge_group(group, **parameters)


def deterministic(deltas: list[Tensor]) -> dict[str, Tensor]:
    """TIES of both."""
    made = {}
    for name, weights in WEIGHTS.items():
        for density in DENSITIES:
            made[f"mergekit.ties.{name}.{density}"] = mergekit("ties", deltas, weights, density)
            weighted = [weight * delta for weight, delta in zip(weights, deltas, strict=True)]
            made[f"mecha.ties.{name}.{density}"] = ties_sum.__wrapped__(*weighted, k=density)
    return made


def random(deltas: list[Tensor]) -> dict[str, Tensor]:
    """DARE and DELLA of both, each after its sparse deltas."""
    made = {}
    kinds = {"dare": SparsificationMethod.random, "della": SparsificationMethod.della_magprune}
    for method, kind in kinds.items():
        torch.manual_seed(7)
        for i, delta in enumerate(deltas):
            sparse = sparsify(delta, DENSITY, kind, epsilon=EPSILON, rescale_norm=RescaleNorm.l1)
            made[f"mergekit.{method}.sparse.{i}"] = sparse
        for consensus in ("linear", "ties"):
            torch.manual_seed(7)
            name = f"{method}_{consensus}" if (method, consensus) != ("della", "ties") else "della"
            made[f"mergekit.{method}.{consensus}"] = mergekit(name, deltas, WEIGHTS["mixed"], DENSITY)
    generator = torch.Generator().manual_seed(7)
    weighted = [weight * delta for weight, delta in zip(WEIGHTS["mixed"], deltas, strict=True)]
    for i, delta in enumerate(weighted):
        made[f"mecha.della.mask.{i}"] = find_della_dropout(delta, 1 - DENSITY, 2 * EPSILON, generator)
    made["mecha.della.ties"] = ties_sum_with_dropout.__wrapped__(
        *weighted, probability=1 - DENSITY, della_eps=2 * EPSILON, k=1.0, apply_stock=True, seed=7
    )
    return made


def frequencies(delta: Tensor) -> dict[str, Tensor]:
    """How often each entry of one delta was kept."""
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    ranked = SparsificationMethod.della_magprune
    mergekits = sum((sparsify(delta, DENSITY, ranked, epsilon=EPSILON) != 0).double() for _ in range(DRAWS))
    mechas = sum(find_della_dropout(delta, 1 - DENSITY, 2 * EPSILON, generator).double() for _ in range(DRAWS))
    return {"mergekit.della.frequency": mergekits / DRAWS, "mecha.della.frequency": mechas / DRAWS}


def main() -> None:
    """Draw three deltas, merge them in every way, write."""
    generator = torch.Generator().manual_seed(0)
    deltas = [torch.randn(12, 17, generator=generator) * scale for scale in (0.05, 0.08, 0.03)]
    tensors = {f"delta.{i}": delta for i, delta in enumerate(deltas)}
    tensors |= deterministic(deltas) | random(deltas) | frequencies(deltas[0])
    stated = {name: version(name) for name in ("mergekit", "sd-mecha", "torch")} | {"draws": str(DRAWS)}
    path = Path(__file__).with_name("merges.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=stated)


if __name__ == "__main__":
    main()
