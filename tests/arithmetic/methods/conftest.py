"""Random deltas, and what mergekit and sd-mecha made of three of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from arithmetic import LowRank

GOLDEN = Path(__file__).parents[1] / "golden" / "merges.safetensors"


@pytest.fixture(scope="session")
def golden() -> dict[str, Tensor]:
    """Tensors of golden/make_merges.py in float64."""
    return {name: tensor.double() for name, tensor in load_file(GOLDEN).items()}


@pytest.fixture(scope="session")
def drawn(golden: dict[str, Tensor]) -> list[Tensor]:
    """The three deltas that the golden merges are of: (12, 17) each."""
    return [golden[f"delta.{i}"] for i in range(3)]


@pytest.fixture(scope="session")
def deltas() -> Callable[..., list[Tensor]]:
    """Full-rank float64 matrices."""

    def make(count: int, seed: int = 0, shape: tuple[int, int] = (8, 11)) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def factors() -> Callable[..., list[LowRank]]:
    """Low-rank deltas of one module, float32 factors, alpha != r."""

    def make(
        ranks: Sequence[int],
        seed: int = 0,
        shape: tuple[int, ...] = (20, 30),
        alphas: Sequence[float] = (2.0, 5.0, 1.0),
    ) -> list[LowRank]:
        generator = torch.Generator().manual_seed(seed)
        made = []
        for i, rank in enumerate(ranks):
            up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator)
            down = torch.randn(rank, *shape[1:], generator=generator)
            made.append(LowRank(up, down, alphas[i % len(alphas)] / rank))
        return made

    return make
