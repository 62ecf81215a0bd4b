"""Predicted needs beside those of the real thing."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from distill_jobs import Dataset, LcdLoraSettings
from distill_jobs.adapters import LCD_TARGETS, injected
from distill_jobs.bases.conditioning import Condition
from distill_jobs.kinds.lcd_lora import Distillation
from distill_jobs.material.material import prepare
from distill_jobs.preflight.needs import WORKLOADS, activation_bytes, forward_seconds, parameter_bytes, trained_bytes
from distill_jobs.training.step import Step
from distill_jobs.training.trainer import Trainer


def kept_by(unet: torch.nn.Module, z: Tensor, condition: Condition) -> int:
    """Bytes that a real forward pass keeps, storage by storage, without the weights."""
    weights = {p.untyped_storage()._cdata for p in unet.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        unet(z, torch.full((len(z),), 500), **condition.arguments(), return_dict=False)
    return sum(size for _, size in kept.values())


@pytest.mark.parametrize("batch", [2, 8])
def test_predicted_activations_are_those_of_a_real_pass(base: StableDiffusionPipeline, batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(batch, 4, 8, 8, generator=generator)
    condition = Condition(torch.randn(batch, 16, base.unet.config.cross_attention_dim, generator=generator))
    predicted = activation_bytes(base.unet, batch, z[:1], condition.at(torch.arange(1)))
    with injected(base.unet, LCD_TARGETS, rank=4, alpha=4.0, seed=0):
        assert predicted == pytest.approx(kept_by(base.unet, z, condition), rel=0.15)


def test_trained_bytes_are_those_of_weights_gradients_moments_and_average(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(rank=4, batch=2, ema_rate=0.9)
    material = prepare(base, dataset, tmp_path)
    with injected(base.unet, LCD_TARGETS, rank=4, alpha=4.0, seed=0) as adapter:
        trainer = Trainer(adapter.parameters(), settings, "")
        trainer.update(Distillation(base, adapter, material, settings).loss(Step(0, 0, 2)))
        parameters = list(trainer.parameters.values())
        moments = [t for state in trainer.optimiser.state.values() for key, t in state.items() if key != "step"]
        real = sum(t.numel() * 4 for t in (*parameters, *moments, *trainer.average.values()))
        real += sum(p.grad.numel() * 4 for p in parameters if p.grad is not None)
    assert trained_bytes(sum(p.numel() for p in parameters), averaged=True) == real


def test_a_distillations_step_passes_as_often_as_its_workload_says(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    rows: list[tuple[int, bool]] = []
    hook = base.unet.register_forward_pre_hook(lambda _, given: rows.append((len(given[0]), torch.is_grad_enabled())))
    settings = LcdLoraSettings(rank=4, batch=2)
    with injected(base.unet, LCD_TARGETS, rank=4, alpha=4.0, seed=0) as adapter:
        Distillation(base, adapter, prepare(base, dataset, tmp_path), settings, fold_limit=0).loss(Step(0, 0, 2))
    hook.remove()
    load = WORKLOADS["lcd-lora"]
    assert sum(count for count, _ in rows) == (load.forward + load.guided) * 2
    assert [learns for _, learns in rows].count(True) == load.backward


def test_parameters_and_time_are_of_this_network(base: StableDiffusionPipeline) -> None:
    z, condition = torch.zeros(2, 4, 8, 8), Condition(torch.zeros(2, 16, base.unet.config.cross_attention_dim))
    assert parameter_bytes([base.unet]) >= sum(p.numel() for p in base.unet.parameters()) * 4
    assert forward_seconds(base.unet, z, condition) > 0
