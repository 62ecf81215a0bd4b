"""U-Nets that are told their guidance, beside diffusers' own pipeline for them."""

import copy

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline
from torch import nn

from sampling import embeds_guidance, guidance_embedding, make_scheduler, paint, predict
from sampling.guidance import EMBEDDING_WIDTH, timestep_condition
from sampling.painting import latent_shape
from sampling.prompts import embed

PROMPTS = ("a large red circle", "a small blue square")


@pytest.mark.parametrize("width", [256, 64])
def test_the_embedding_is_that_of_diffusers_to_the_bit(base: StableDiffusionPipeline, width: int) -> None:
    w = torch.tensor([0.0, 0.5, 7.5, 14.0])
    theirs = StableDiffusionPipeline.get_guidance_scale_embedding(base, w, embedding_dim=width)
    assert torch.equal(guidance_embedding(w, width), theirs)


def test_the_embedding_is_what_its_formula_says() -> None:
    w = torch.tensor([0.3, 2.0], dtype=torch.float64)
    rates = 10000.0 ** -(torch.arange(128, dtype=torch.float64) / 127)
    angles = 1000 * w[:, None] * rates
    expected = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    torch.testing.assert_close(guidance_embedding(w), expected, rtol=0, atol=2e-3)  # angles of thousands in float32


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ValueError, match="got 255"):
        guidance_embedding(torch.ones(1), 255)


def test_only_a_unet_that_embeds_guidance_is_told_it(
    base: StableDiffusionPipeline, told: LatentConsistencyModelPipeline
) -> None:
    assert not embeds_guidance(base.unet)
    assert timestep_condition(base.unet, 8.5, 2) is None
    assert embeds_guidance(told.unet)
    assert torch.equal(timestep_condition(told.unet, 8.5, 2), guidance_embedding(torch.tensor([7.5, 7.5])))


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("guidance", [1.0, 8.5])
def test_it_paints_what_diffusers_own_pipeline_does(
    told: LatentConsistencyModelPipeline, steps: int, guidance: float
) -> None:
    ours = paint(told, PROMPTS, solver="lcm", steps=steps, guidance=guidance, seeds=(3, 4))
    theirs = told(
        list(PROMPTS),
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        height=64,
        width=64,
        output_type="latent",
    ).images
    assert torch.equal(ours.latents, theirs)


def test_guidance_changes_the_picture_and_costs_one_evaluation_a_step(told: LatentConsistencyModelPipeline) -> None:
    plain, guided = (
        paint(told, PROMPTS[:1], solver="lcm", steps=2, guidance=guidance, seeds=(0,)) for guidance in (1.0, 5.0)
    )
    assert not torch.equal(plain.latents, guided.latents)
    assert (plain.evaluations, guided.evaluations) == (2, 2)


def test_a_predicted_output_is_that_of_the_network_told_the_guidance(told: LatentConsistencyModelPipeline) -> None:
    z = torch.randn(1, *latent_shape(told), generator=torch.Generator().manual_seed(5))
    condition = embed(told, PROMPTS[:1])
    at_once = told.unet(
        z, 499, timestep_cond=timestep_condition(told.unet, 5.0, 1), **condition.arguments(), return_dict=False
    )[0]
    assert torch.equal(predict(told, PROMPTS[:1], z, 499, 5.0), at_once)


@pytest.fixture(scope="module")
def told(base: StableDiffusionPipeline) -> LatentConsistencyModelPipeline:
    """The base's parts with a U-Net that embeds guidance by a layer of seeded noise, in diffusers' own pipeline."""
    unet = copy.deepcopy(base.unet)
    embedding = unet.time_embedding
    embedding.cond_proj = nn.Linear(EMBEDDING_WIDTH, embedding.linear_1.in_features, bias=False)
    noise = torch.randn(embedding.cond_proj.weight.shape, generator=torch.Generator().manual_seed(0))
    embedding.cond_proj.weight = nn.Parameter(0.05 * noise, requires_grad=False)
    unet.register_to_config(time_cond_proj_dim=EMBEDDING_WIDTH)
    pipe = LatentConsistencyModelPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=unet,
        scheduler=make_scheduler("lcm", base.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
