"""What a training will need: memory, disk and time, predicted before it begins."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from distill_jobs.bases.conditioning import Condition

SINGLE = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Workload:
    """What one step of a kind of training does, in passes of the U-Net over one batch.

    `guided` passes belong to the teacher and fall away where its steps are cached; a backward pass through frozen
    weights costs about one forward pass, through trained ones two.
    """

    forward: int
    backward: int
    guided: int
    copies: int

    @property
    def passes(self) -> int:
        """Forward passes that a step costs in all."""
        return self.forward + self.backward + self.guided


WORKLOADS = {
    "lcd-lora": Workload(forward=2, backward=1, guided=2, copies=0),
    "lcd": Workload(forward=2, backward=2, guided=2, copies=2),
    "lcf": Workload(forward=2, backward=1, guided=0, copies=0),
    "style": Workload(forward=1, backward=1, guided=0, copies=0),
}
"""Job kind -> its step. lcd holds a teacher and a moving average beside the student."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a step, by what takes them."""

    weights: int
    trained: int
    activations: int
    material: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.trained + self.activations + self.material

    def to_json(self) -> dict[str, int]:
        """Each part, and the total."""
        return asdict(self) | {"total": self.total}


def parameter_bytes(networks: Sequence[nn.Module]) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for n in networks for t in (*n.parameters(), *n.buffers()))


def trained_bytes(count: int, *, averaged: bool, optimiser_bytes: int = 2 * SINGLE) -> int:
    """Bytes of `count` trained fp32 parameters: weight, gradient, AdamW's two moments, and the moving average."""
    return count * (2 * SINGLE + optimiser_bytes + (SINGLE if averaged else 0))


def activation_bytes(unet: nn.Module, z: Tensor, condition: Condition) -> int:
    """Bytes that one forward pass at z (B, C, H, W) keeps for its backward pass; nothing is computed.

    The network is built again out of tensors that have shapes and no contents, with all its weights trained: a LoRA
    on most of them keeps the same inputs. Tensors that share storage count once, the weights not at all.
    """
    kept: dict[int, tuple[Tensor, int]] = {}
    with FakeTensorMode(), torch.device(z.device):
        twin: Any = type(unet).from_config(unet.config)
        twin.train(unet.training)
        weights = {_storage(p) for p in twin.parameters()}

        def note(tensor: Tensor) -> Tensor:
            if (key := _storage(tensor)) not in weights:
                kept[key] = (tensor, tensor.untyped_storage().nbytes())
            return tensor

        told = Condition(*(None if part is None else torch.empty(part.shape) for part in condition.parts))
        with saved_tensors_hooks(note, lambda tensor: tensor):
            output = twin(torch.empty(z.shape), torch.zeros(len(z)), **told.arguments(), return_dict=False)
        del output
    return sum(size for _, size in kept.values())


@torch.no_grad()
def forward_seconds(unet: nn.Module, z: Tensor, condition: Condition) -> float:
    """Seconds of one forward pass at z (B, C, H, W), the second of two."""
    timesteps = torch.full((len(z),), 500, device=z.device)
    took = 0.0
    for _ in range(2):
        began = time.perf_counter()
        unet(z, timesteps, **condition.arguments(), return_dict=False)
        if z.is_cuda:
            torch.cuda.synchronize(z.device)
        took = time.perf_counter() - began
    return took


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
