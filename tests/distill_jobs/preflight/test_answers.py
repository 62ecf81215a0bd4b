"""What a network predicts, read off its answers: the truth on networks that are known, and nothing where nothing is."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from demo import base_folder, write_dataset, write_velocity_base
from demo.training.networks import scheduler
from distill_jobs import consistency, read_dataset
from distill_jobs.consistency import Prediction, Schedule, schedule_of
from distill_jobs.material.material import prepare
from distill_jobs.preflight.answers import answered_prediction, correlation
from sampling import load_pipeline

SPREAD = 0.9


def perfect_network(schedule: Schedule, kind: Prediction):
    """The best answer of that kind on latents drawn from N(0, SPREAD^2)."""

    def output(z: Tensor, timesteps: Tensor) -> Tensor:
        alpha, sigma = schedule.at(timesteps, z.dtype)
        eps = sigma * z / (alpha**2 * SPREAD**2 + sigma**2)
        return consistency.output_for((z - sigma * eps) / alpha, eps, alpha, sigma, kind)

    return output


def drawn() -> tuple[Tensor, Tensor]:
    x0, eps = torch.randn(2, 8, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    return SPREAD * x0, eps


def test_a_random_network_speaks_for_nothing(base: StableDiffusionPipeline) -> None:
    schedule = schedule_of(base.scheduler)
    text = torch.zeros(8, 16, base.unet.config.cross_attention_dim)
    with torch.no_grad():
        said = answered_prediction(lambda z, t: base.unet(z, t, text, return_dict=False)[0], *drawn(), schedule)
    assert said is None


def test_a_network_that_answers_its_input_speaks_for_nothing() -> None:
    assert answered_prediction(lambda z, t: z, *drawn(), schedule_of(scheduler())) is None


@pytest.mark.parametrize("kind", list(Prediction))
def test_a_network_that_knows_the_answer_is_told_by_it_whatever_its_scheduler_says(kind: Prediction) -> None:
    x0, eps = drawn()
    for said in ("epsilon", "v_prediction"):
        schedule = schedule_of(scheduler(said))

        def output(z: Tensor, timesteps: Tensor, schedule: Schedule = schedule) -> Tensor:
            return consistency.output_for(x0, eps, *schedule.at(timesteps), kind)

        assert answered_prediction(output, x0, eps, schedule) is kind


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_shipped_bases_answer_what_their_schedulers_say(kind: str, tmp_path: Path) -> None:
    folder = base_folder() if kind == "epsilon" else write_velocity_base(tmp_path / "shapes-v")
    pipe = load_pipeline(folder)
    material = prepare(pipe, read_dataset(write_dataset(tmp_path / "data", "flat", count=16, seed=0)), tmp_path)
    condition = material.condition(torch.arange(16))
    eps = torch.randn(material.latents.shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def output(z: Tensor, timesteps: Tensor) -> Tensor:
        return pipe.unet(z, timesteps, **condition.arguments(), return_dict=False)[0]

    assert answered_prediction(output, material.latents, eps, schedule_of(pipe.scheduler)) == kind


def test_correlation_is_1_with_itself_minus_1_with_its_negative_and_0_with_a_constant() -> None:
    x, _ = drawn()
    assert correlation(x, 3 * x + 2) == pytest.approx(1)
    assert correlation(x, -x) == pytest.approx(-1)
    assert correlation(x, torch.ones_like(x)) == 0
