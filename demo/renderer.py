"""Draws scenes of the shapes world: one anti-aliased shape on a plain background, in one of four styles.

A shape is a signed distance field (pixels, negative inside); every style is a function of that field, so that edges are
smooth and a picture is determined by its scene alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demo.captions import ATTRIBUTES, Attributes

SIDE = 64
STYLES = ("flat", "outline", "stripes", "glow")
"""flat is the base's own style; the others are what the style vectors teach."""

COLOURS = {
    "red": (0.90, 0.10, 0.10),
    "green": (0.05, 0.65, 0.15),
    "blue": (0.10, 0.20, 0.90),
    "yellow": (0.97, 0.88, 0.08),
    "purple": (0.60, 0.10, 0.75),
    "cyan": (0.10, 0.80, 0.88),
}
BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "gray": (0.5, 0.5, 0.5)}
RADII = {"small": (9.0, 11.0), "large": (18.0, 21.0)}
"""Half the extent of a shape in pixels: the range from which a scene draws it."""

Field = NDArray[np.float32]


class Scene(NamedTuple):
    """Everything that determines one picture."""

    attributes: Attributes
    x: float
    y: float
    radius: float
    style: str = "flat"


def sample_scenes(rng: np.random.Generator, attributes: list[Attributes], style: str | None = "flat") -> list[Scene]:
    """One scene an entry of `attributes`: position and radius free, `style` given or (None) drawn uniformly."""
    scenes = []
    for entry in attributes:
        radius = rng.uniform(*RADII[entry.size])
        x, y = rng.uniform(radius + 3, SIDE - radius - 3, size=2)
        chosen = style if style is not None else STYLES[rng.integers(len(STYLES))]
        scenes.append(Scene(entry, float(x), float(y), float(radius), chosen))
    return scenes


def sample_attributes(rng: np.random.Generator, count: int) -> list[Attributes]:
    """`count` independent, uniform draws of attributes."""
    columns = [[values[i] for i in rng.integers(len(values), size=count)] for values in ATTRIBUTES.values()]
    return [Attributes(*row) for row in zip(*columns, strict=True)]


def render(scene: Scene) -> NDArray[np.float32]:
    """The picture of `scene`: (64, 64, 3) float32, RGB in [0, 1]."""
    ys, xs = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5
    dx, dy = xs - np.float32(scene.x), ys - np.float32(scene.y)
    distance = _DISTANCES[scene.attributes.shape](dx, dy, scene.radius)
    alpha = _COVERAGES[scene.style](distance, dx, dy)[..., None]
    ink = np.asarray(COLOURS[scene.attributes.colour], dtype=np.float32)
    paper = np.asarray(BACKGROUNDS[scene.attributes.background], dtype=np.float32)
    return (paper + alpha * (ink - paper)).astype(np.float32)


def _circle(dx: Field, dy: Field, radius: float) -> Field:
    return np.hypot(dx, dy) - np.float32(radius)


def _box(dx: Field, dy: Field, half_width: float, half_height: float) -> Field:
    qx, qy = np.abs(dx) - np.float32(half_width), np.abs(dy) - np.float32(half_height)
    outside = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0))
    return outside + np.minimum(np.maximum(qx, qy), 0)


def _square(dx: Field, dy: Field, radius: float) -> Field:
    return _box(dx, dy, radius * 0.88, radius * 0.88)


def _triangle(dx: Field, dy: Field, radius: float) -> Field:
    bottom = dy - np.float32(radius * 0.8)
    slope = np.hypot(2.0, 1.0)
    side = (2 * np.abs(dx) - (dy + np.float32(radius))) / np.float32(slope)
    return np.maximum(bottom, side)


def _cross(dx: Field, dy: Field, radius: float) -> Field:
    arm = radius * 0.38
    return np.minimum(_box(dx, dy, radius, arm), _box(dx, dy, arm, radius))


def _cover(distance: Field) -> Field:
    """Share of a pixel inside a half plane at signed `distance` (pixels): anti-aliasing over one pixel."""
    return np.clip(0.5 - distance, 0, 1)


def _flat(distance: Field, dx: Field, dy: Field) -> Field:
    return _cover(distance)


def _outline(distance: Field, dx: Field, dy: Field) -> Field:
    return _cover(np.abs(distance + 1.5) - 1.5)


def _stripes(distance: Field, dx: Field, dy: Field) -> Field:
    phase = np.abs((dx + dy) / np.float32(np.sqrt(2)) % 8.0 - 4.0)
    return _cover(distance) * (0.35 + 0.65 * _cover(phase - 2.0))


def _glow(distance: Field, dx: Field, dy: Field) -> Field:
    halo = np.float32(0.55) * np.exp(-np.maximum(distance, 0) / np.float32(6.0))
    return np.maximum(_cover(distance), halo)


_DISTANCES: dict[str, Callable[[Field, Field, float], Field]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
}
_COVERAGES: dict[str, Callable[[Field, Field, Field], Field]] = {
    "flat": _flat,
    "outline": _outline,
    "stripes": _stripes,
    "glow": _glow,
}
