"""FID, KID and the CLIP score with networks of the real classes, against their formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from distill_jobs.errors import EvaluationRefused
from distill_jobs.evaluation.perceptual import Perceptual

PROMPTS = ("a large red circle", "a small blue square", "a large green cross", "a small red cross")


def test_fid_and_kid_are_their_formulas_over_the_extractor_s_features(features_folder: Path) -> None:
    bright, dark = _pictures(12, 256, seed=0), _pictures(12, 90, seed=1)
    perceptual = Perceptual(features_folder, None)
    x, y = _features(perceptual, bright), _features(perceptual, dark)
    got = perceptual.of_the_set(bright, dark)
    assert got["fid"] == pytest.approx(_frechet(x, y), rel=1e-3)
    assert got["kid"] == pytest.approx(_kernel(x, y), rel=1e-3)
    assert abs(perceptual.of_the_set(bright, bright)["fid"]) < 1e-6


def test_measuring_leaves_the_random_numbers_of_the_training_alone(features_folder: Path) -> None:
    before = torch.random.get_rng_state()
    Perceptual(features_folder, None).of_the_set(_pictures(4, 256, seed=0), _pictures(4, 256, seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_clip_score_is_a_hundred_times_the_cosine_where_that_is_positive(clip_folder: Path) -> None:
    pictures = _pictures(4, 256, seed=2)
    got = Perceptual(None, clip_folder).of_each(pictures, PROMPTS)["clip_score"]
    wanted = _cosines(clip_folder, pictures)
    np.testing.assert_allclose(got, 100 * np.maximum(wanted, 0), rtol=1e-4, atol=1e-4)
    assert got.max() > 0


def test_without_networks_nothing_is_measured() -> None:
    nothing = Perceptual(None, None)
    assert nothing.measures == set()
    assert nothing.of_the_set([], []) == {}
    assert nothing.of_each([], []) == {}


@pytest.mark.parametrize("option", ["features", "clip"])
def test_a_name_that_is_no_folder_is_refused_and_nothing_is_downloaded(tmp_path: Path, option: str) -> None:
    with pytest.raises(EvaluationRefused, match="nothing is downloaded"):
        Perceptual(**{"features": None, "clip": None, option: Path("facebook/dinov2-base")})
    with pytest.raises(EvaluationRefused, match="name a local folder"):
        Perceptual(**{"features": None, "clip": None, option: tmp_path})


def _pictures(count: int, brightest: int, seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, brightest, (40, 40, 3), dtype=np.uint8)) for _ in range(count)]


def _features(perceptual: Perceptual, pictures: list[Image.Image]) -> np.ndarray:
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    assert perceptual._features is not None
    return perceptual._features(pixels).double().numpy()


def _frechet(x: np.ndarray, y: np.ndarray) -> float:
    """|mx - my|^2 + tr(Cx + Cy - 2 (Cx Cy)^(1/2)); the last trace by the eigenvalues of the product."""
    cx, cy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(cx @ cy).astype(complex)).real.sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * root)


def _kernel(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased squared MMD with the kernel (x . y / d + 1)^3."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    n = len(x)
    same = sum((kernel(z, z).sum() - np.trace(kernel(z, z))) / (n * (n - 1)) for z in (x, y))
    return float(same - 2 * kernel(x, y).mean())


@torch.no_grad()
def _cosines(folder: Path, pictures: list[Image.Image]) -> np.ndarray:
    """The diagonal of CLIPModel's own logits over its own scale."""
    model = CLIPModel.from_pretrained(folder).eval()
    given = CLIPProcessor.from_pretrained(folder)(
        text=list(PROMPTS), images=pictures, return_tensors="pt", padding=True
    )
    return (model(**given).logits_per_image.diagonal() / model.logit_scale.exp()).numpy()
