"""Painting: the plain pipeline's answer, one picture alone or in a batch, evaluations counted, stoppable."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from sampling import (
    SOLVERS,
    Cancelled,
    Settings,
    decode,
    denoise,
    known_warnings_silenced,
    make_scheduler,
    noise_for,
    paint,
    predict,
)
from sampling.errors import UnsupportedSetting
from sampling.painting import latent_shape
from sampling.prompts import MOST_KEPT, embed

PROMPTS = ["a large red circle on a white background", "a small blue cross on a black background", ""]
SEEDS = [11, 12, 2**40]


SETTINGS = {"solver": "ddim", "steps": 3, "guidance": 1.0}


def painted(base, *, prompts=PROMPTS, seeds=SEEDS, batch=48, on_step=None, cancelled=None, **changes):
    settings = Settings(**{**SETTINGS, **changes})
    return denoise(base, prompts, seeds, settings, batch=batch, on_step=on_step, cancelled=cancelled)


def by_the_plain_pipeline(base, solver, guidance, output_type):
    scheduler = make_scheduler(solver, base.scheduler.config)
    plain = StableDiffusionPipeline(**{**base.components, "scheduler": scheduler}, requires_safety_checker=False)
    plain.set_progress_bar_config(disable=True)
    with known_warnings_silenced():
        return plain(
            PROMPTS,
            num_inference_steps=4,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
            output_type=output_type,
        ).images


def rows_seen_by(network, act):
    """How many rows `network` evaluates while `act()` runs, one entry a call."""
    rows = []
    hook = network.register_forward_hook(lambda _, positional, __: rows.append(len(positional[0])))
    try:
        act()
    finally:
        hook.remove()
    return rows


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_paints_what_the_plain_pipeline_paints(base, solver, guidance):
    expected = by_the_plain_pipeline(base, solver, guidance, "latent")
    torch.testing.assert_close(painted(base, solver=solver, steps=4, guidance=guidance), expected)


def test_pictures_are_the_plain_pipelines_pictures(base):
    ours = paint(base, PROMPTS, seeds=SEEDS, **{**SETTINGS, "solver": "lcm", "steps": 4})
    for picture, expected in zip(ours.images, by_the_plain_pipeline(base, "lcm", 1.0, "pil"), strict=True):
        assert picture.size == (64, 64)
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(
    "stochastic",
    [{"solver": "lcm"}, {"solver": "tcd", "eta": 0.3}, {"solver": "ddim", "eta": 1.0}, {"solver": "dpm++"}],
)
def test_a_picture_alone_is_the_picture_in_any_batch(base, stochastic):
    together = painted(base, **stochastic, guidance=3.0)
    torch.testing.assert_close(painted(base, **stochastic, guidance=3.0, batch=2), together, rtol=1e-4, atol=1e-4)
    backwards = painted(base, prompts=PROMPTS[::-1], seeds=SEEDS[::-1], **stochastic, guidance=3.0)
    torch.testing.assert_close(backwards.flip(0), together, rtol=1e-4, atol=1e-4)
    for i, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        alone = painted(base, prompts=[prompt], seeds=[seed], **stochastic, guidance=3.0)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_picture_does_not_depend_on_where_a_batch_ends(base, batch):
    prompts, seeds = [*PROMPTS, *PROMPTS[:2]], [*SEEDS, 1, 2]
    how = {**SETTINGS, "solver": "lcm", "steps": 2}
    whole, cut = (paint(base, prompts, seeds=seeds, batch=size, **how) for size in (48, batch))
    torch.testing.assert_close(cut.latents, whole.latents, rtol=1e-4, atol=1e-4)
    for one, other in zip(cut.images, whole.images, strict=True):
        assert np.abs(np.asarray(one, dtype=int) - np.asarray(other)).max() <= 1


def test_noise_of_a_seed_does_not_depend_on_its_neighbours(base):
    shape = latent_shape(base)
    assert shape == (4, 8, 8)
    assert torch.equal(noise_for([5, 6, 7], shape)[2], noise_for([7], shape)[0])
    assert torch.equal(noise_for([7], shape)[0], torch.randn(shape, generator=torch.Generator().manual_seed(7)))


def test_the_same_settings_paint_the_same_pixels(base):
    first = paint(base, PROMPTS, seeds=SEEDS, **SETTINGS)
    kept = {key: value for key, value in first.settings.items() if key != "versions"}
    again = paint(base, **kept)
    assert torch.equal(first.latents, again.latents)
    assert [p.tobytes() for p in first.images] == [p.tobytes() for p in again.images]
    assert first.settings == again.settings
    assert set(first.settings["versions"]) == {"diffusers", "peft", "torch", "transformers"}


@pytest.mark.parametrize(
    "change",
    [
        {"solver": "euler"},
        {"steps": 4},
        {"guidance": 2.0},
        {"spacing": "leading"},
        {"spacing": "linspace"},
        {"eta": 0.5},
        {"seeds": [1, 2, 3]},
        {"prompts": ["", "", ""]},
    ],
    ids=str,
)
def test_every_setting_changes_the_picture(base, change):
    assert (painted(base, **change) - painted(base)).abs().max() > 1e-3


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_evaluations_are_the_rows_that_the_unet_computed(base, guidance):
    paintings = []
    rows = rows_seen_by(
        base.unet, lambda: paintings.append(paint(base, PROMPTS, seeds=SEEDS, **{**SETTINGS, "guidance": guidance}))
    )
    assert len(rows) == 3  # conditional and unconditional in one batch
    assert sum(rows) == len(SEEDS) * paintings[0].evaluations
    assert paintings[0].evaluations == Settings("ddim", 3, guidance).evaluations == (3 if guidance == 1 else 6)
    assert paintings[0].seconds > 0


def test_prompts_are_encoded_once_for_a_pipeline(fresh_base):
    first = rows_seen_by(fresh_base.text_encoder, lambda: painted(fresh_base, prompts=["a", "b", "a"]))
    second = rows_seen_by(fresh_base.text_encoder, lambda: painted(fresh_base, prompts=["b", "b", "a"], steps=2))
    third = rows_seen_by(fresh_base.text_encoder, lambda: painted(fresh_base, prompts=["b", "c", "a"], steps=2))
    assert first[0] == 2
    assert not second
    assert third[0] == 1


def test_a_changed_text_encoder_is_asked_again(fresh_base):
    before = painted(fresh_base)
    with torch.no_grad():
        fresh_base.text_encoder.get_input_embeddings().weight.mul_(1.5)
    assert (painted(fresh_base) - before).abs().max() > 1e-3


def test_reassigned_weights_are_noticed_too(fresh_base):
    before = painted(fresh_base)
    weight = fresh_base.text_encoder.get_input_embeddings().weight
    weight.data = weight.data * 1.5
    assert (painted(fresh_base) - before).abs().max() > 1e-3


def test_more_prompts_than_are_kept_are_still_embedded_right(fresh_base):
    prompts = [f"{'a ' * (i % 9)}{'red ' * (i // 9 % 9)}{'b ' * (i // 81)}" for i in range(MOST_KEPT + 40)]
    assert len(set(prompts)) == len(prompts)
    rows = embed(fresh_base, prompts)
    again = []
    assert not rows_seen_by(fresh_base.text_encoder, lambda: again.append(embed(fresh_base, prompts[-MOST_KEPT:])))
    assert torch.equal(again[0].text, rows.text[-MOST_KEPT:])
    assert rows_seen_by(fresh_base.text_encoder, lambda: embed(fresh_base, prompts[:1])) == [1]


def test_each_step_is_reported(base):
    seen = []
    painted(base, batch=2, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_painting_stops_at_the_step_where_it_is_asked_to(base):
    done = []

    def act():
        with pytest.raises(Cancelled, match="stopped after 2 of 3 denoising steps: the user asked"):
            painted(
                base,
                on_step=lambda step, _: done.append(step),
                cancelled=lambda: "the user asked" if len(done) == 2 else None,
            )

    assert len(rows_seen_by(base.unet, act)) == 2


def test_decoding_in_parts_is_decoding_at_once(base):
    latents = noise_for(range(5), latent_shape(base))
    at_once, in_parts = decode(base, latents), decode(base, latents, batch=2)
    assert len(in_parts) == 5
    for a, b in zip(at_once, in_parts, strict=True):
        assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance": 0.5}, "guidance must be at least 1 .*, got 0.5"),
        ({"guidance": float("nan")}, "guidance must be at least 1 .*, got nan"),
        ({"seeds": [1]}, "got 3 prompts, 1 seeds"),
        ({"prompts": [], "seeds": []}, "at least one; got 0 prompts, 0 seeds"),
        ({"prompts": "abc"}, "one prompt for each seed"),
        ({"solver": "dpm", "spacing": "leading", "steps": 1000}, "does not give 1000 different timesteps"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"solver": "lcm", "spacing": "leading"}, "LCM: timestep spacing must be trailing"),
    ],
)
def test_what_cannot_be_painted_is_refused(base, change, message):
    with pytest.raises(UnsupportedSetting, match=message):
        painted(base, **change)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_the_traced_latents_follow_from_each_other_by_the_predicted_outputs(base, guidance):
    seen = []
    settings = Settings("ddim", 3, guidance)
    last = denoise(base, PROMPTS, SEEDS, settings, trace=lambda t, z: seen.append((int(t), z)))
    scheduler = settings.scheduler(base)
    assert [t for t, _ in seen] == scheduler.timesteps.tolist()
    for (t, z), after in zip(seen, [*(z for _, z in seen[1:]), last], strict=True):
        output = predict(base, PROMPTS, z, t, guidance, batch=2)
        torch.testing.assert_close(scheduler.step(output, t, z).prev_sample, after, rtol=1e-4, atol=1e-4)
