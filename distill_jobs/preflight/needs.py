"""What a training will need: memory, disk and time, predicted before it begins."""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from distill_jobs.bases.conditioning import Condition
from distill_jobs.material.trajectories import trajectory_bytes
from distill_jobs.training.settings import TrainingSettings, VectorSettings
from sampling.guidance import timestep_condition

MIB = 1024**2
SINGLE = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Workload:
    """What one step of a form of training does, in passes of the U-Net over one batch.

    `guided` passes belong to the teacher and fall away where its steps are kept; a backward pass through frozen
    weights costs about one forward pass, through trained ones two. `copies` are frozen U-Nets beside the trained one.
    """

    forward: int
    backward: int
    guided: int
    trains_all: bool
    copies: int


WORKLOADS = {
    "lcd-lora": Workload(forward=2, backward=1, guided=2, trains_all=False, copies=1),
    "lcd": Workload(forward=2, backward=2, guided=2, trains_all=True, copies=1),
    "lcf": Workload(forward=2, backward=2, guided=0, trains_all=True, copies=1),
    "lcf-lora": Workload(forward=2, backward=1, guided=0, trains_all=False, copies=1),
    "style": Workload(forward=1, backward=1, guided=0, trains_all=False, copies=1),
}
"""Form of training -> its step."""


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


@dataclass(frozen=True)
class Needs:
    """What a training needs: memory at its peak, bytes on disk, seconds of steps."""

    memory: Memory
    disk: int
    seconds: float

    @property
    def sentence(self) -> str:
        """All three for people."""
        memory, disk = self.memory.total / MIB, self.disk / MIB
        return f"about {memory:,.0f} MiB of memory, {disk:,.0f} MiB on disk, {self.seconds:,.0f} s of steps"

    def to_json(self) -> dict[str, Any]:
        """Each of them."""
        return {"memory": self.memory.to_json(), "disk": self.disk, "seconds": round(self.seconds, 1)}


def predicted_needs(
    form: str,
    unet: Any,
    z: Tensor,
    condition: Condition,
    pictures: int,
    captions: Collection[str],
    settings: TrainingSettings,
) -> Needs:
    """What a training of `form` needs on `pictures` pictures like those of z (N, C, H, W), told `condition`.

    Its steps are predicted from one pass over z that is run and timed where and as the network is now: on another
    device or in another dtype they take other times.
    """
    load, size = WORKLOADS[form], settings.batch // settings.parts
    count = trained_parameters(unet, load, settings)
    per_picture, per_caption = z[0].nbytes, sum(part[0].nbytes for part in condition.parts if part is not None)
    material = pictures * per_picture + len(captions) * per_caption
    memory = Memory(
        weights=load.copies * half_or_whole(parameter_bytes([unet]), settings),
        trained=trained_bytes(count, averaged=settings.ema_rate > 0, optimiser_bytes=moments_bytes(settings))
        + (SINGLE * count if getattr(settings, "target_rate", 0) else 0),
        activations=half_or_whole(
            activation_bytes(unet, size, z, condition, settings.gradient_checkpointing), settings
        ),
        material=material,
    )
    disk = material + kept_bytes(count, settings) + trajectories_bytes(pictures, z, settings)
    seconds = forward_seconds(unet, z, condition) * settings.batch / len(z)
    return Needs(memory, disk, seconds * predicted_passes(load, pictures, settings))


def trained_parameters(unet: nn.Module, load: Workload, settings: TrainingSettings) -> int:
    """How many parameters are trained: all, or of a LoRA rank (inputs x kernel + outputs) for every target module."""
    if load.trains_all or not isinstance(settings, VectorSettings):
        return sum(parameter.numel() for parameter in unet.parameters())
    modules = (m for name, m in unet.named_modules() if any(_ends(name, target) for target in settings.targets))
    return sum(settings.rank * (m.weight[0].numel() + m.weight.shape[0]) for m in modules if hasattr(m, "weight"))


def half_or_whole(size: int, settings: TrainingSettings) -> int:
    """Bytes in the settings' dtype of what takes `size` bytes in fp32."""
    return size if settings.dtype == "fp32" else size // 2


def moments_bytes(settings: TrainingSettings) -> int:
    """Bytes that AdamW's two moments take of a parameter."""
    return 2 if settings.optimiser == "adamw-8bit" else 2 * SINGLE


def kept_bytes(count: int, settings: TrainingSettings) -> int:
    """Bytes of the result and of every checkpoint that is kept: the one to resume from, the last and the best ones."""
    evaluation = getattr(settings, "evaluation", None)
    best = evaluation.keep_best if evaluation is not None and evaluation.every else 0
    copies = 1 + (settings.ema_rate > 0) + (getattr(settings, "target_rate", 0) > 0)
    checkpoint = count * (copies * SINGLE + moments_bytes(settings))
    return SINGLE * count + (1 + settings.keep_last + best) * checkpoint


def trajectories_bytes(pictures: int, z: Tensor, settings: TrainingSettings) -> int:
    """Bytes of the kept trajectories, 0 where there are none."""
    noises: int = getattr(settings, "trajectories", 0)
    return trajectory_bytes(pictures, z.shape[1:], noises) if noises else 0


def predicted_passes(load: Workload, pictures: int, settings: TrainingSettings) -> float:
    """Forward passes over a batch, or what costs as much, of all steps; kept trajectories spare the teacher's."""
    noises = getattr(settings, "trajectories", 0)
    guided_steps = min(settings.steps, noises * pictures / settings.batch) if noises else settings.steps
    again = load.backward and settings.gradient_checkpointing
    return settings.steps * (load.forward + load.backward + again) + guided_steps * load.guided


def parameter_bytes(networks: Sequence[nn.Module]) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for n in networks for t in (*n.parameters(), *n.buffers()))


def trained_bytes(count: int, *, averaged: bool, optimiser_bytes: int = 2 * SINGLE) -> int:
    """Bytes of `count` trained fp32 parameters: weight, gradient, AdamW's two moments, and the moving average."""
    return count * (2 * SINGLE + optimiser_bytes + (SINGLE if averaged else 0))


def activation_bytes(unet: Any, size: int, z: Tensor, condition: Condition, checkpointing: bool = False) -> int:
    """Bytes that one forward pass over `size` rows like those of z keeps for its backward pass; nothing is computed.

    The network is built again out of tensors that have shapes and no contents, with all its weights trained: a LoRA
    on most of them keeps the same inputs. Tensors that share storage count once, the weights not at all. With
    `checkpointing` a block keeps its inputs alone.
    """
    kept: dict[int, tuple[Tensor, int]] = {}
    with FakeTensorMode(), torch.device(z.device):
        twin: Any = type(unet).from_config(unet.config)
        twin.train(unet.training or checkpointing)
        if checkpointing:
            twin.enable_gradient_checkpointing()
        weights = {_storage(p) for p in twin.parameters()}

        def note(tensor: Tensor) -> Tensor:
            if (key := _storage(tensor)) not in weights:
                kept[key] = (tensor, tensor.untyped_storage().nbytes())
            return tensor

        told = Condition(*(None if part is None else torch.empty(size, *part.shape[1:]) for part in condition.parts))
        with saved_tensors_hooks(note, lambda tensor: tensor):
            given = (torch.empty(size, *z.shape[1:]), torch.zeros(size))
            guidance = timestep_condition(twin, 1.0, size)
            output = twin(*given, **told.arguments(), timestep_cond=guidance, return_dict=False)
        del output
    return sum(size for _, size in kept.values())


@torch.no_grad()
def forward_seconds(unet: Any, z: Tensor, condition: Condition) -> float:
    """Seconds of one forward pass at z (B, C, H, W), the second of two."""
    z, told = z.to(unet.device, unet.dtype), condition.to(unet.device, unet.dtype).arguments()
    timesteps = torch.full((len(z),), 500, device=z.device)
    guidance = timestep_condition(unet, 1.0, len(z))
    took = 0.0
    for _ in range(2):
        began = time.perf_counter()
        unet(z, timesteps, **told, timestep_cond=guidance, return_dict=False)
        if z.is_cuda:
            torch.cuda.synchronize(z.device)
        took = time.perf_counter() - began
    return took


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
