"""A LoRA that is injected changes nothing until trained, switches off, and leaves no trace."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from distill_jobs.adapters import LCD_TARGETS, TEXT_ENCODER_TARGETS, InjectedAdapter, injected
from distill_jobs.errors import UnknownTarget, UnsupportedBase


def test_every_target_of_the_report_is_adapted_and_only_the_factors_are_trained(base: StableDiffusionPipeline) -> None:
    with injected(base.unet, LCD_TARGETS, rank=4, alpha=4.0, seed=0) as adapter:
        for target in LCD_TARGETS:
            assert any(name.endswith(target) for name in adapter.layers), target
        trained = {id(p) for p in base.unet.parameters() if p.requires_grad}
        assert trained == {id(p) for p in adapter.parameters().values()}


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_can_be_switched_off(base: StableDiffusionPipeline) -> None:
    before = _output(base.unet)
    with injected(base.unet, LCD_TARGETS, rank=4, alpha=4.0, seed=0) as adapter:
        torch.testing.assert_close(_output(base.unet), before, rtol=0, atol=0)
        _fill(adapter)
        assert (_output(base.unet) - before).abs().max() > 1e-2
        with adapter.off():
            assert torch.equal(_output(base.unet), before)
        assert (_output(base.unet) - before).abs().max() > 1e-2


def test_removal_leaves_the_very_same_network(base: StableDiffusionPipeline) -> None:
    before = {name: id(value) for name, value in base.unet.named_parameters()}
    with injected(base.unet, LCD_TARGETS, rank=4, alpha=4.0, seed=0) as adapter:
        _fill(adapter)
    assert {name: id(value) for name, value in base.unet.named_parameters()} == before
    assert not hasattr(base.unet, "peft_config")


def test_the_first_factors_depend_on_the_seed_and_not_on_the_global_generator(
    base: StableDiffusionPipeline,
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (_factors(base.unet, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_text_encoder_takes_an_adapter_too(base: StableDiffusionPipeline) -> None:
    with injected(base.text_encoder, TEXT_ENCODER_TARGETS, rank=2, alpha=1.0, seed=0) as adapter:
        assert len(adapter.layers) == 2 * len(TEXT_ENCODER_TARGETS)


def test_a_target_that_matches_nothing_is_named(base: StableDiffusionPipeline) -> None:
    with pytest.raises(UnknownTarget, match="'to_quack'"):
        InjectedAdapter(base.unet, ("to_q", "to_quack"), rank=4, alpha=4.0, seed=0)


def test_a_network_that_carries_a_lora_already_is_refused(base: StableDiffusionPipeline) -> None:
    with (
        injected(base.unet, ("to_q",), rank=4, alpha=4.0, seed=0),
        pytest.raises(UnsupportedBase, match="already carries a LoRA"),
    ):
        InjectedAdapter(base.unet, ("to_k",), rank=4, alpha=4.0, seed=0)


def _factors(network: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    with injected(network, ("to_q",), rank=4, alpha=4.0, seed=seed) as adapter:
        return {name: value.detach().clone() for name, value in adapter.parameters().items()}


@torch.no_grad()
def _fill(adapter: InjectedAdapter) -> None:
    generator = torch.Generator().manual_seed(1)
    for value in adapter.parameters().values():
        value.copy_(0.1 * torch.randn(value.shape, generator=generator))


@torch.no_grad()
def _output(unet: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    z, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 16, 96, generator=generator)
    return unet(z, torch.tensor([10, 900]), text, return_dict=False)[0]
