"""SDXL: the plain pipeline's pictures, told by two text encoders, and vectors that reach all three networks."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from arithmetic.sources.vector import open_vector
from formats import Layout, architecture_of_folder, factor_keys
from sampling import (
    SOLVERS,
    Settings,
    attach,
    attached,
    denoise,
    detach,
    known_warnings_silenced,
    load_pipeline,
    make_scheduler,
    paint,
    set_strengths,
)
from sampling.errors import BaseUnreadable, VectorMismatch
from sampling.prompts import embed, forget, unconditional

PROMPTS = ["a large red circle on a white background", "a small blue cross on a black background", ""]
SEEDS = [11, 12, 2**40]
MODULES = (
    "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
    "unet.up_blocks.0.attentions.0.proj_in",
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
    "text_encoder_2.text_model.encoder.layers.1.mlp.fc1",
    "text_encoder_2.text_model.encoder.layers.2.self_attn.out_proj",
)


@pytest.fixture(autouse=True)
def _nothing_kept(sdxl_base):
    """Prompts are encoded anew: in another company than the plain pipeline's they differ in the last bits."""
    forget(sdxl_base)


@pytest.fixture
def copied_sdxl(sdxl_folder, tmp_path):
    return shutil.copytree(sdxl_folder, tmp_path / "sdxl")


def painted(pipe, solver="ddim", steps=3, guidance=3.0, prompts=PROMPTS, seeds=SEEDS):
    return denoise(pipe, prompts, seeds, Settings(solver, steps, guidance))


def by_the_plain_pipeline(pipe, solver, guidance, output_type, **options):
    plain = StableDiffusionXLPipeline(
        **{**pipe.components, "scheduler": make_scheduler(solver, pipe.scheduler.config)},
        force_zeros_for_empty_prompt=pipe.config.force_zeros_for_empty_prompt,
        add_watermarker=False,
    )
    plain.set_progress_bar_config(disable=True)
    with known_warnings_silenced():
        return plain(
            PROMPTS,
            num_inference_steps=3,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
            output_type=output_type,
            **options,
        ).images


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_paints_what_the_plain_pipeline_paints(sdxl_base, solver, guidance):
    expected = by_the_plain_pipeline(sdxl_base, solver, guidance, "latent")
    torch.testing.assert_close(painted(sdxl_base, solver, guidance=guidance), expected)


def test_pictures_are_the_plain_pipelines_pictures(sdxl_base):
    ours = paint(sdxl_base, PROMPTS, seeds=SEEDS, solver="lcm", steps=3, guidance=1.0)
    for picture, expected in zip(ours.images, by_the_plain_pipeline(sdxl_base, "lcm", 1.0, "pil"), strict=True):
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).max() <= 1


def test_a_base_that_does_not_zero_an_empty_prompt_is_guided_away_from_it(sdxl_base, copied_sdxl):
    index = copied_sdxl / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "force_zeros_for_empty_prompt": False}))
    other = load_pipeline(copied_sdxl)
    torch.testing.assert_close(painted(other), by_the_plain_pipeline(other, "ddim", 3.0, "latent"))
    assert (painted(other) - painted(sdxl_base)).abs().max() > 1e-3
    torch.testing.assert_close(painted(other, guidance=1.0), painted(sdxl_base, guidance=1.0))


def test_zeros_replace_the_text_and_not_the_sizes(sdxl_base):
    told = embed(sdxl_base, PROMPTS)
    away = unconditional(sdxl_base, told)
    assert told.text.shape == away.text.shape == (3, 16, 160)
    assert not away.text.any()
    assert not away.pooled.any()
    assert torch.equal(away.time_ids, told.time_ids)
    assert told.time_ids.tolist() == [[64, 64, 0, 0, 64, 64]] * 3
    assert told.text[2].any()


def test_a_picture_alone_is_the_picture_in_any_batch(sdxl_base):
    together = painted(sdxl_base)
    for i, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        alone = painted(sdxl_base, prompts=[prompt], seeds=[seed])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoder", ["text_encoder", "text_encoder_2"])
def test_a_change_to_either_text_encoder_is_noticed(fresh_sdxl, encoder):
    before = painted(fresh_sdxl)
    with torch.no_grad():
        getattr(fresh_sdxl, encoder).get_input_embeddings().weight.mul_(1.5)
    assert (painted(fresh_sdxl) - before).abs().max() > 1e-3


def test_every_network_is_opened_in_the_asked_precision_but_a_vae_that_overflows_in_half(sdxl_folder, copied_sdxl):
    pipe = load_pipeline(sdxl_folder, dtype=torch.float16)
    assert {network.dtype for network in (pipe.unet, pipe.text_encoder, pipe.text_encoder_2)} == {torch.float16}
    assert pipe.vae.dtype == torch.float32
    assert load_pipeline(sdxl_folder, dtype=torch.bfloat16).vae.dtype == torch.bfloat16
    config = copied_sdxl / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "force_upcast": False}))
    assert load_pipeline(copied_sdxl, dtype=torch.float16).vae.dtype == torch.float16


def test_half_precision_paints_about_the_same_picture(sdxl_base, sdxl_folder):
    half = paint(load_pipeline(sdxl_folder, dtype=torch.float16), PROMPTS, seeds=SEEDS, **HALF)
    single = paint(sdxl_base, PROMPTS, seeds=SEEDS, **HALF)
    for picture, expected in zip(half.images, single.images, strict=True):
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).mean() < 2


HALF = {"solver": "ddim", "steps": 2, "guidance": 2.0}


def test_a_refiner_is_refused_by_name(copied_sdxl):
    index = copied_sdxl / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "text_encoder": [None, None]}))
    with pytest.raises(BaseUnreadable, match="an SDXL refiner, which only repaints"):
        load_pipeline(copied_sdxl)


@pytest.mark.parametrize("content", ["[]", "{", '{"text_encoder": 3}'])
def test_an_index_that_is_none_is_refused(copied_sdxl, content):
    (copied_sdxl / "model_index.json").write_text(content)
    with pytest.raises(BaseUnreadable, match="not the index of a diffusers folder"):
        load_pipeline(copied_sdxl)


@pytest.fixture(scope="module", params=[Layout.KOHYA, Layout.DIFFUSERS])
def vector(request, sdxl_folder, tmp_path_factory):
    """A random delta on the U-Net and both text encoders, rank 2."""
    architecture, generator = architecture_of_folder(sdxl_folder, "tiny"), torch.Generator().manual_seed(1)
    state = {}
    for module in MODULES:
        out, inside = architecture.modules[module].shape
        keys = factor_keys(request.param, module, architecture)
        state[keys.up] = torch.randn(out, 2, generator=generator)
        state[keys.down] = 0.1 * torch.randn(2, inside, generator=generator)
        if keys.alpha:
            state[keys.alpha] = torch.tensor(1.0)
    path = tmp_path_factory.mktemp("vector") / "all.safetensors"
    save_file(state, path)
    return open_vector(path, architecture, name="all")


def merged(pipe, weight, vector):
    """An independent oracle: lambda scale up down added to the weights in float64."""
    for module in vector.modules:
        component, _, name = module.partition(".")
        network = getattr(pipe, component)
        target = network.get_submodule(name if hasattr(network, "text_model") else name.removeprefix("text_model."))
        factors = vector.factors(module)
        delta = weight * factors.scale * (factors.up.double() @ factors.down.double())
        target.weight.data = (target.weight.double() + delta).float()
    return pipe


@pytest.mark.parametrize("weight", [0.8, -0.5])
def test_a_vector_on_all_three_networks_paints_what_the_merged_weights_paint(sdxl_folder, fresh_sdxl, vector, weight):
    plain = painted(fresh_sdxl)
    attach(fresh_sdxl, {"all": vector})
    set_strengths(fresh_sdxl, {"all": weight})
    expected = painted(merged(load_pipeline(sdxl_folder), weight, vector))
    torch.testing.assert_close(painted(fresh_sdxl), expected, rtol=1e-4, atol=1e-4)
    assert (expected - plain).abs().max() > 1e-2
    detach(fresh_sdxl)
    assert attached(fresh_sdxl) == ()
    assert torch.equal(painted(fresh_sdxl), plain)


def test_a_vector_for_sdxl_does_not_fit_stable_diffusion(fresh_base, vector):
    with pytest.raises(VectorMismatch, match="The vector is for another architecture"):
        attach(fresh_base, {"all": vector})
