"""How a training computes: every option changes what it should, and nothing else."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from distill_jobs.adapters import LCD_TARGETS, injected
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import CompileMismatch, UnavailableCompute
from distill_jobs.kinds.lcd_lora import Distillation, LcdLoraSettings, distil
from distill_jobs.kinds.style import StyleSettings, train_style
from distill_jobs.material.material import Material, prepare
from distill_jobs.progress import Progress
from distill_jobs.training.compilation import require_parity
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.devices import device_of
from distill_jobs.training.optimisers import optimiser_for
from distill_jobs.training.precision import prepared
from distill_jobs.training.settings import TrainingSettings
from distill_jobs.training.step import Step

Silent = dict[str, Callable[..., Any]]
SHORT: dict[str, Any] = {"rank": 2, "steps": 2, "batch": 4, "warmup": 1, "w": 1.0, "loss": "l2"}


@pytest.fixture(scope="module")
def material(base: StableDiffusionPipeline, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return prepare(base, dataset, tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def plain(base: StableDiffusionPipeline, material: Material) -> tuple[float, Tensor]:
    """Loss and gradient of one step, in fp32 with default kernels, through the factors."""
    return _loss_and_gradient(base, material)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 0.1), ("fp16", 0.02)])
def test_a_half_precision_base_changes_the_gradient_by_its_rounding_alone(
    base: StableDiffusionPipeline, material: Material, plain: tuple[float, Tensor], dtype: str, tolerance: float
) -> None:
    for fold_limit in (0, 10**9):
        loss, gradient = _loss_and_gradient(base, material, fold_limit=fold_limit, dtype=dtype)
        assert loss != plain[0]
        assert loss == pytest.approx(plain[0], rel=tolerance)
        assert (gradient - plain[1]).norm() < 2 * tolerance * plain[1].norm()


def test_a_bf16_base_is_half_as_large_its_factors_stay_fp32_and_it_comes_back_to_the_bit(
    base: StableDiffusionPipeline,
) -> None:
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    full = _bytes(base.unet)
    settings = ComputeSettings(dtype="bf16", channels_last=True)
    with injected(base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter, prepared(base.unet, settings):
        frozen = _bytes(base.unet) - sum(value.nbytes for value in adapter.parameters().values())
        assert {value.dtype for value in adapter.parameters().values()} == {torch.float32}
    assert frozen == full / 2
    after = base.unet.state_dict()
    assert all(torch.equal(after[name], before[name]) and after[name].is_contiguous() for name in before)


def test_checkpointing_keeps_fewer_activations_and_gives_the_same_gradient(
    base: StableDiffusionPipeline, material: Material, plain: tuple[float, Tensor]
) -> None:
    kept = {flag: _kept_bytes(base, material, gradient_checkpointing=flag) for flag in (False, True)}
    assert kept[True] < kept[False] / 2
    loss, gradient = _loss_and_gradient(base, material, gradient_checkpointing=True)
    assert loss == pytest.approx(plain[0], rel=1e-6)
    assert (gradient - plain[1]).norm() < 1e-6 * plain[1].norm()


def test_channels_last_reaches_the_convolutions_and_gives_the_same_gradient(
    base: StableDiffusionPipeline, material: Material, plain: tuple[float, Tensor]
) -> None:
    with ConvolutionsSeen() as default:
        _loss_and_gradient(base, material)
    with ConvolutionsSeen() as changed:
        loss, gradient = _loss_and_gradient(base, material, channels_last=True)
    assert default.channels_last == 0
    assert changed.channels_last > 0.4 * changed.contiguous  # attention hands on contiguous tensors, to ResNets too
    assert loss == pytest.approx(plain[0], rel=1e-4)
    assert (gradient - plain[1]).norm() < 1e-3 * plain[1].norm()


def test_attention_runs_in_one_kernel_or_written_out(
    base: StableDiffusionPipeline, material: Material, plain: tuple[float, Tensor]
) -> None:
    with AttentionCalls() as fused:
        _loss_and_gradient(base, material)
    with AttentionCalls() as written_out:
        loss, gradient = _loss_and_gradient(base, material, attention="math")
    assert fused.count > 0
    assert written_out.count == 0
    assert loss == pytest.approx(plain[0], rel=1e-4)
    assert (gradient - plain[1]).norm() < 1e-3 * plain[1].norm()


def test_a_batch_in_parts_gives_the_gradient_of_the_whole_with_fewer_activations(
    base: StableDiffusionPipeline, material: Material, plain: tuple[float, Tensor]
) -> None:
    loss, gradient = _loss_and_gradient(base, material, accumulate=2)
    assert loss == pytest.approx(plain[0], rel=1e-5)
    assert (gradient - plain[1]).norm() < 1e-4 * plain[1].norm()
    assert _kept_bytes(base, material, accumulate=2) < 0.6 * _kept_bytes(base, material)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "bf16"},
        {"dtype": "fp16"},
        {"accumulate": 2},
        {"attention": "math"},
        {"channels_last": True},
        {"optimiser": "adamw-fused"},
        {"gradient_checkpointing": True},
        {"compile": "aot_eager"},
    ],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()),
)
@pytest.mark.parametrize("kind", ["lcd-lora", "style"])
def test_both_kinds_train_with_every_option_to_nearly_the_same_vector(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: Silent, kind: str, change: dict[str, Any]
) -> None:
    common = {"rank": 2, "steps": 2, "batch": 4, "warmup": 1, "learning_rate": 1e-4, "targets": ("to_q", "conv1")}
    got = []
    for i, options in enumerate(({}, change)):
        folder = tmp_path / str(i)
        if kind == "style":
            path = train_style(base, dataset, StyleSettings(**common, **options), folder=folder, **silent)
        else:
            path = distil(base, dataset, LcdLoraSettings(**common, **options), folder=folder, **silent)
        got.append(load_file(path))
    for name, value in got[0].items():
        torch.testing.assert_close(got[1][name], value, rtol=0, atol=5e-4)


def test_a_strip_of_a_half_precision_base_is_the_full_one_but_for_rounding(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    strips: list[np.ndarray] = []

    def keep(progress: Progress) -> None:
        strips.extend([np.asarray(Image.open(progress.strip), dtype=float)] if progress.strip else [])

    for dtype in ("fp32", "bf16"):
        settings = LcdLoraSettings(**SHORT, dtype=dtype, sample_every=2, sample_prompts=("a large red circle",))
        distil(base, dataset, settings, folder=tmp_path / dtype, report=keep, cancelled=lambda: None)
    assert 0 < np.abs(strips[0] - strips[1]).mean() < 8


def test_the_fused_optimiser_steps_as_the_plain_one() -> None:
    stepped = []
    for name in ("adamw", "adamw-fused"):
        value = nn.Parameter(torch.linspace(-1, 1, 50))
        optimiser = optimiser_for([value], TrainingSettings(optimiser=name))
        assert bool(optimiser.param_groups[0].get("fused")) is (name == "adamw-fused")
        for _ in range(5):
            value.grad = value.detach().square() - 0.3
            optimiser.step()
        stepped.append(value.detach())
    torch.testing.assert_close(stepped[0], stepped[1], rtol=0, atol=1e-6)


def test_an_eight_bit_optimiser_is_refused_where_it_cannot_run() -> None:
    settings = TrainingSettings(optimiser="adamw-8bit")
    with pytest.raises(UnavailableCompute, match="runs on cuda, the device is cpu; use adamw"):
        optimiser_for([nn.Parameter(torch.zeros(2))], settings)
    if find_spec("bitsandbytes") is None:
        with pytest.raises(UnavailableCompute, match="bitsandbytes is not installed"):
            optimiser_for([nn.Parameter(torch.zeros(2))], settings.model_copy(update={"device": "cuda"}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_the_machine_lacks_is_refused() -> None:
    with pytest.raises(UnavailableCompute, match="device cuda:1: this machine has 0 CUDA devices"):
        device_of(ComputeSettings(device="cuda:1"))
    assert device_of(ComputeSettings()) == torch.device("cpu")


def test_compiled_the_loss_and_gradient_stay(
    base: StableDiffusionPipeline, material: Material, plain: tuple[float, Tensor]
) -> None:
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    loss, gradient = _loss_and_gradient(base, material, compile="aot_eager")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs
    assert loss == pytest.approx(plain[0], rel=1e-4)
    assert (gradient - plain[1]).norm() < 1e-3 * plain[1].norm()


def test_a_compiled_network_that_ignores_the_switch_is_refused(
    base: StableDiffusionPipeline, material: Material
) -> None:
    settings = LcdLoraSettings(**SHORT)
    with injected(base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter:
        distillation = Distillation(base, adapter, material, settings)
        z, t, told = material.latents[:2], torch.tensor([500, 900]), material.condition(torch.tensor([0, 1]))
        always_on = _always_on(adapter, lambda: distillation.network(z, t, told))
        before = {name: value.detach().clone() for name, value in adapter.parameters().items()}
        with pytest.raises(CompileMismatch, match="teacher: the output of the compiled network is"):
            require_parity(
                lambda: distillation.network(z, t, told),
                always_on,
                {"target": torch.no_grad, "teacher": distillation.as_teacher},
                adapter.parameters(),
                tolerance=1e-3,
            )
        assert all(torch.equal(value, before[name]) for name, value in adapter.parameters().items())


class ConvolutionsSeen(TorchDispatchMode):
    """Counts the convolutions of more than one pixel and channel by the memory format of their input."""

    def __init__(self) -> None:
        super().__init__()
        self.channels_last = self.contiguous = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default and min(args[0].shape[1:]) > 1:
            is_last = args[0].is_contiguous(memory_format=torch.channels_last)
            self.channels_last, self.contiguous = self.channels_last + is_last, self.contiguous + (not is_last)
        return func(*args, **(kwargs or {}))


class AttentionCalls(TorchFunctionMode):
    """Counts the calls of the one-kernel attention."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def _loss_and_gradient(
    base: StableDiffusionPipeline, material: Material, *, fold_limit: int = 0, **options: Any
) -> tuple[float, Tensor]:
    settings = LcdLoraSettings(**SHORT, **options)
    with (
        injected(base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter,
        prepared(base.unet, settings),
    ):
        _fill(adapter)
        distillation = Distillation(base, adapter, material, settings, fold_limit=fold_limit)
        total = 0.0
        for part in range(settings.accumulate):
            loss = distillation.loss(Step(0, 0, settings.batch, part, settings.accumulate)) / settings.accumulate
            loss.backward()
            total += loss.item()
        gradient = torch.cat([p.grad.flatten() for p in adapter.parameters().values() if p.grad is not None])
    return total, gradient


def _kept_bytes(base: StableDiffusionPipeline, material: Material, **options: Any) -> int:
    """The bytes of the distinct tensors that one part's graph keeps for its backward pass."""
    settings = LcdLoraSettings(**SHORT, **options)
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with (
        injected(base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter,
        prepared(base.unet, settings),
    ):
        weights = {value.untyped_storage().data_ptr() for value in base.unet.parameters()}
        distillation = Distillation(base, adapter, material, settings, fold_limit=0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            loss = distillation.loss(Step(0, 0, settings.batch, 0, settings.accumulate))
    assert loss.requires_grad
    return sum(size for place, size in kept.items() if place not in weights)


@torch.no_grad()
def _fill(adapter: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    for value in adapter.parameters().values():
        value.copy_(0.05 * torch.randn(value.shape, generator=generator))


def _always_on(adapter: Any, network: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """What a graph computes that was captured with the adapter on and never looks again."""

    def call() -> Tensor:
        for layer in adapter.layers.values():
            layer.enable_adapters(True)
        return network()

    return call


def _bytes(network: nn.Module) -> int:
    return sum(value.nbytes for value in network.parameters())
