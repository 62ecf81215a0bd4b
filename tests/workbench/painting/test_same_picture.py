"""One recipe, one picture: as runtime weights, composed file, baked model, in any batch, on a pipeline that is kept."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from peft.tuners.tuners_utils import BaseTunerLayer

from sampling import load_pipeline
from workbench.painting.previewing import preview
from workbench.painting.profiles import Sampling
from workbench.recipes.resolving import resolve_recipe
from workbench.sums.baking import bake
from workbench.sums.composing import compose

CIRCLE = ["a large red circle on a white background"]
LEVELS = 1
"""Of 255, in any channel of any pixel: what rounding in another order may change."""


def pixels(gallery: Any, recipe: str, how: Sampling, seeds: Sequence[int] = (3,), **more: Any) -> NDArray[np.int64]:
    """(pictures, height, width, 3) from 0 to 255."""
    painted = preview(gallery.registry, recipe, CIRCLE, sampling=how, seeds=seeds, **more)
    return np.stack([np.asarray(image, dtype=np.int64) for image in painted.images])


@contextmanager
def weight_files_opened() -> Iterator[list[str]]:
    """The weight files that are opened while the context lasts. An audit hook stays for ever, so there is one."""
    is_first = not _AUDITED
    _AUDITED.append([])
    if is_first:
        sys.addaudithook(_note)
    try:
        yield _AUDITED[-1]
    finally:
        _AUDITED.append([])


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith(".safetensors"):
        _AUDITED[-1].append(str(arguments[0]))


_AUDITED: list[list[str]] = []


@pytest.mark.parametrize(
    ("recipe", "sampling"),
    [
        ("0.8*soft + fast", Sampling(solver="lcm", steps=4)),
        ("soft{unet.down: 0.2, unet.mid: 0, else: 1.3} + 0.5*fast", Sampling(solver="ddim", steps=3, guidance=3.0)),
    ],
)
def test_runtime_weights_composed_file_and_baked_model_paint_the_same_picture(
    recipe: str, sampling: Sampling, gallery: Any
) -> None:
    compose(gallery.registry, recipe, name="whole", base="shapes")
    bake(gallery.registry, f"shapes + {recipe}", gallery.files / "baked", name="mine")
    runtime, composed, baked = (
        pixels(gallery, text, sampling, base=base)
        for text, base in ((recipe, "shapes"), ("whole", "shapes"), ("mine", None))
    )
    assert np.abs(runtime - composed).max() <= LEVELS
    assert np.abs(runtime - baked).max() <= LEVELS
    assert np.abs(runtime - pixels(gallery, "shapes", sampling)).max() > 10


def test_a_kept_pipeline_paints_what_a_fresh_one_paints_and_turning_numbers_loads_nothing(gallery: Any) -> None:
    pipe = load_pipeline(gallery.base)
    kept: dict[str, Any] = {"open_base": lambda version: pipe, "base": "shapes"}
    sampling = Sampling(solver="ddim", steps=2, guidance=2.0)
    turned = ("0.8*soft + fast", "0.3*soft + 1.2*fast", "0.3*soft{unet.down: 0.5, else: 2} - fast", "soft + 0*fast")
    seen, read = [], []
    for recipe in turned:
        with weight_files_opened() as opened:
            there = pixels(gallery, recipe, sampling, **kept)
        assert np.array_equal(there, pixels(gallery, recipe, sampling, base="shapes"))
        seen.append(_injected(pipe))
        read.append(len(opened))
    assert read[1:] == [0] * (len(turned) - 1)
    with weight_files_opened() as opened:
        resolve_recipe(gallery.registry, str(gallery.files / "soft.safetensors"), "shapes")
    assert opened
    assert len(seen[0]) > 10
    assert seen == [seen[0]] * len(turned)
    swapped = pixels(gallery, "fast", sampling, **kept)
    assert np.array_equal(swapped, pixels(gallery, "fast", sampling, base="shapes"))
    assert 0 < len(_injected(pipe)) < len(seen[0])
    assert _injected(pipe) < seen[0]
    assert np.array_equal(pixels(gallery, "shapes", sampling, **kept), pixels(gallery, "shapes", sampling))
    assert not _injected(pipe)


@pytest.mark.parametrize("sampling", [Sampling(solver="lcm", steps=3), Sampling(solver="tcd", steps=3, eta=0.5)])
def test_a_picture_is_the_same_alone_and_among_others(sampling: Sampling, gallery: Any) -> None:
    together = pixels(gallery, "soft + fast", sampling, seeds=(1, 2, 3))
    alone = [pixels(gallery, "soft + fast", sampling, seeds=(seed,))[0] for seed in (1, 2, 3)]
    assert np.abs(together - np.stack(alone)).max() <= LEVELS
    assert np.abs(together[0] - together[1]).max() > 10


def test_a_picture_painted_over_is_painted_again_from_its_record(gallery: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.radial_gradient("L").resize((64, 48)).save(tmp_path / "sketch.png")
    sampling = Sampling(init=str(tmp_path / "sketch.png"), init_strength=0.6, negative="blue", guidance=2.0)
    first = preview(gallery.registry, "soft + fast", CIRCLE, sampling=sampling)
    (tmp_path / "sketch.png").unlink()
    again = preview(gallery.registry, "soft + fast", CIRCLE, sampling=Sampling.of_record(first.record))
    assert np.array_equal(np.asarray(first.images[0]), np.asarray(again.images[0]))
    assert first.images[0].size == (64, 48)
    assert again.record == first.record


def _injected(pipe: Any) -> set[tuple[str, str, int]]:
    """The factors that stand beside the base's weights, each by its identity."""
    return {
        (name, adapter, id(layer.lora_A[adapter].weight))
        for network in (pipe.unet, pipe.text_encoder)
        for name, layer in network.named_modules()
        if isinstance(layer, BaseTunerLayer)
        for adapter in layer.lora_A
    }
