"""A picture to begin with, its size, and a negative prompt: what diffusers' own pipelines paint of them."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, StableDiffusionXLImg2ImgPipeline
from diffusers import StableDiffusionXLPipeline as SdxlPipeline
from PIL import Image

from sampling import SOLVERS, Settings, decode, denoise, known_warnings_silenced, make_scheduler, paint
from sampling.beginnings import encoded
from sampling.errors import UnsupportedSetting
from sampling.painting import latent_shape
from sampling.prompts import forget

PROMPTS = ["a large red circle on a white background", "a small blue cross on a black background"]
SEEDS = [11, 2**40]
WIDE = {"width": 96, "height": 40}


@pytest.fixture(autouse=True)
def _nothing_kept(sdxl_base):
    """Prompts are encoded anew: in another company than the plain pipeline's they differ in the last bits."""
    forget(sdxl_base)


@pytest.fixture(scope="module")
def start() -> Image.Image:
    """Seeded blotches of another size than the base's."""
    noise = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((80, 64), Image.Resampling.BICUBIC)


def painted(base, init=None, *, prompts=PROMPTS, seeds=SEEDS, batch=48, **how):
    settings = Settings(**{"solver": "ddim", "steps": 4, "guidance": 3.0, **how})
    return denoise(base, prompts, seeds, settings, init=init, batch=batch)


def by_diffusers(
    kind, base, solver="ddim", *, prompts=PROMPTS, seeds=SEEDS, steps=4, guidance=3.0, negative=None, **options
):
    """The latents of one of diffusers' pipelines, with a scheduler of ours."""
    sdxl = kind in (SdxlPipeline, StableDiffusionXLImg2ImgPipeline)
    own = (
        {"add_watermarker": False, "force_zeros_for_empty_prompt": True} if sdxl else {"requires_safety_checker": False}
    )
    plain = kind(**{**base.components, "scheduler": make_scheduler(solver, base.scheduler.config)}, **own)
    plain.set_progress_bar_config(disable=True)
    with known_warnings_silenced():
        return plain(
            prompts,
            num_inference_steps=steps,
            guidance_scale=guidance,
            negative_prompt=None if negative is None else [negative] * len(prompts),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="latent",
            **options,
        ).images


@pytest.mark.parametrize("strength", [0.55, 1.0])
@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"lcm", "tcd"}))
def test_a_picture_is_painted_over_as_diffusers_does(base, start, solver, strength):
    expected = by_diffusers(StableDiffusionImg2ImgPipeline, base, solver, image=start, strength=strength)
    ours = painted(base, start, solver=solver, init_strength=strength, width=80, height=64)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("strength", "grid"), [(0.5, [499, 379, 259, 139]), (0.9, [899, 679, 459, 239])])
@pytest.mark.parametrize("solver", ["lcm", "tcd"])
def test_distilled_solvers_take_all_their_steps_on_the_lower_part_of_their_grid(base, start, solver, strength, grid):
    settings = Settings(solver, 4, 3.0, init_strength=strength)
    assert settings.visited(settings.scheduler(base)).tolist() == grid
    assert (settings.steps_taken, settings.evaluations) == (4, 8)
    like = {"image": start, "strength": 1.0, "timesteps": grid, "steps": None}
    like |= {"eta": 0.0} if solver == "tcd" else {}
    expected = by_diffusers(StableDiffusionImg2ImgPipeline, base, solver, **like)
    ours = painted(base, start, solver=solver, init_strength=strength, width=80, height=64)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("solver", ["ddim", "dpm++", "euler"])
def test_sdxl_paints_over_a_picture_as_diffusers_does(sdxl_base, start, solver):
    expected = by_diffusers(StableDiffusionXLImg2ImgPipeline, sdxl_base, solver, image=start, strength=0.6)
    ours = painted(sdxl_base, start, solver=solver, init_strength=0.6, width=80, height=64)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("negative", ["", "a small blue cross"])
@pytest.mark.parametrize(("kind", "name"), [(StableDiffusionPipeline, "base"), (SdxlPipeline, "sdxl_base")])
def test_size_and_negative_prompt_are_those_of_the_plain_pipeline(kind, name, negative, request):
    pipe = request.getfixturevalue(name)
    for prompt, seed in zip(
        PROMPTS, SEEDS, strict=True
    ):  # one by one: the plain pipeline encodes a negative prompt often
        expected = by_diffusers(kind, pipe, prompts=[prompt], seeds=[seed], negative=negative or None, **WIDE)
        ours = painted(pipe, prompts=[prompt], seeds=[seed], negative=negative, **WIDE)
        assert ours.shape == (1, 4, 5, 12)
        torch.testing.assert_close(ours, expected)
    assert decode(pipe, ours)[0].size == (96, 40)


def test_a_picture_is_resized_to_the_size_that_is_asked_for(base, start):
    narrow = painted(base, start, init_strength=0.5, width=40, height=64)
    resized = painted(base, start.resize((40, 64), Image.Resampling.LANCZOS), init_strength=0.5, width=40, height=64)
    assert narrow.shape[1:] == latent_shape(base, (64, 40)) == (4, 8, 5)
    torch.testing.assert_close(narrow, resized)


def test_the_less_strength_the_nearer_the_picture_stays(base, start):
    kept = [painted(base, start, init_strength=strength, guidance=1.0) for strength in (0.25, 0.5, 1.0)]
    begun = encoded(base, start, (64, 64)).mode() * base.vae.config.scaling_factor
    near, middle, far = (float((z - begun).abs().mean()) for z in kept)
    assert near < middle < far


def test_a_picture_painted_over_alone_is_the_one_in_any_batch(base, start):
    together = painted(base, start, solver="lcm", init_strength=0.6, guidance=1.0)
    apart = painted(base, start, solver="lcm", init_strength=0.6, guidance=1.0, batch=1)
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-4)


def test_steps_that_a_strength_skips_cost_nothing(base, start):
    seen = []
    done = paint(
        base,
        PROMPTS,
        seeds=SEEDS,
        init=start,
        solver="dpm++",
        steps=5,
        guidance=2.0,
        init_strength=0.5,
        on_step=lambda *step: seen.append(step),
    )
    assert (done.evaluations, seen) == (4, [(1, 2), (2, 2)])


def test_exact_timesteps_are_visited_and_the_grid_of_a_distillation_is_chosen(base):
    own = {"solver": "lcm", "guidance": 1.0, "steps": 4}
    dmd = Settings(**own, timesteps=(999, 749, 499, 249))
    assert dmd.visited(dmd.scheduler(base)).tolist() == [999, 749, 499, 249]
    hundred = Settings(**own, original_inference_steps=100)
    assert hundred.visited(hundred.scheduler(base)).tolist() == [999, 749, 499, 249]
    torch.testing.assert_close(
        painted(base, **own, timesteps=(999, 749, 499, 249)), painted(base, **own, original_inference_steps=100)
    )
    assert painted(base, **own).sub(painted(base, **own, original_inference_steps=100)).abs().max() > 1e-3
    for solver in ("tcd", "euler", "dpm", "dpm++"):
        one = Settings(solver, 2, 1.0, timesteps=(800, 300))
        assert one.visited(one.scheduler(base)).tolist() == [800, 300]
        assert denoise(base, PROMPTS, SEEDS, one).isfinite().all()


def test_exact_timesteps_are_cut_by_a_strength(base):
    one = Settings("lcm", 4, 1.0, timesteps=(999, 749, 499, 249), init_strength=0.5)
    assert one.visited(one.scheduler(base)).tolist() == [499, 249]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"width": 60}, "size 60 x 64: width and height must be multiples of 8; take 64 x 64"),
        ({"height": 0}, "height must be at least 1 pixel, got 0"),
        ({"negative": "dull", "guidance": 1.0}, "guidance 1 is none"),
        ({"init_strength": 0.0}, "init strength must lie above 0"),
        ({"init_strength": 1.5}, "init strength must lie above 0 .* got 1.5"),
        ({"init_strength": 0.2}, "0.2 of 4 steps is less than one step"),
        ({"solver": "lcm", "init_strength": 0.05}, "leaves 2 timesteps, got 4 steps"),
        ({"init_strength": 0.5}, "an init strength to begin with was given, but no picture"),
        ({"timesteps": (999, 499)}, "DDIM chooses its timesteps itself .*; take one of lcm, tcd, dpm"),
        ({"solver": "lcm", "timesteps": (999, 499)}, "LCM: 4 steps take 4 timesteps, got 999, 499"),
        ({"solver": "lcm", "steps": 2, "timesteps": (499, 999)}, "must fall from noise to picture, got 499, 999"),
        ({"solver": "lcm", "steps": 2, "timesteps": (1200, 9)}, "must lie below the base's 1000, got 1200"),
        ({"original_inference_steps": 50}, "DDIM takes its timesteps from no distillation .* one of lcm, tcd"),
        ({"solver": "tcd", "original_inference_steps": 2000}, "must lie in 1 to 1000, got 2000"),
        ({"solver": "tcd", "original_inference_steps": 3}, "steps must lie in 1 to 3, got 4"),
    ],
)
def test_what_would_make_no_difference_or_cannot_be_is_refused(base, how, message):
    with pytest.raises(UnsupportedSetting, match=message):
        painted(base, **how)


def test_a_picture_without_a_strength_is_refused(base, start):
    with pytest.raises(UnsupportedSetting, match="a picture to begin with was given, but no strength"):
        painted(base, start)
