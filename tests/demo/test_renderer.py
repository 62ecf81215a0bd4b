"""Laws of the shapes renderer."""

import numpy as np
import pytest

from demo import STYLES, Attributes, Scene, render, sample_scenes
from demo.captions import ATTRIBUTES
from demo.renderer import BACKGROUNDS, COLOURS, sample_attributes

RED = Attributes("large", "red", "circle", "white")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", ATTRIBUTES["shape"])
def test_corners_show_the_background_and_pixels_stay_in_range(style: str, shape: str) -> None:
    picture = render(Scene(RED._replace(shape=shape), 32.0, 32.0, 18.0, style))
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    np.testing.assert_allclose(picture[0, 0], BACKGROUNDS["white"], atol=0.1)


def test_the_area_of_a_circle_is_pi_r_squared() -> None:
    picture = render(Scene(RED._replace(background="black"), 31.3, 32.9, 17.25))
    area = picture[..., 0].sum() / COLOURS["red"][0]
    assert area == pytest.approx(np.pi * 17.25**2, rel=0.005)


def test_moving_a_scene_by_whole_pixels_moves_the_picture() -> None:
    here = render(Scene(RED, 30.0, 30.0, 10.0, "glow"))
    there = render(Scene(RED, 33.0, 35.0, 10.0, "glow"))
    np.testing.assert_allclose(there[10:, 8:], here[5:-5, 5:-3], atol=1e-5)


@pytest.mark.parametrize("style", [style for style in STYLES if style != "flat"])
def test_each_style_paints_another_picture(style: str) -> None:
    flat, styled = (render(Scene(RED, 32.0, 32.0, 18.0, name)) for name in ("flat", style))
    assert np.abs(flat - styled).mean() > 0.02


def test_scenes_are_seeded_and_stay_inside_the_picture() -> None:
    attributes = sample_attributes(np.random.default_rng(3), 200)
    first = sample_scenes(np.random.default_rng(4), attributes, None)
    assert first == sample_scenes(np.random.default_rng(4), attributes, None)
    assert {scene.style for scene in first} == set(STYLES)
    assert all(scene.radius < min(scene.x, scene.y) for scene in first)
    assert all(max(scene.x, scene.y) + scene.radius < 64 for scene in first)
