"""What a recipe's vectors were made for is what it is painted with, wherever nothing else is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from registry import Registry
from sampling.errors import UnknownSolver, UnsupportedSetting
from workbench.errors import NotAPicture, UnknownPath
from workbench.intake.importing import import_file
from workbench.painting.init_pictures import keep_init, open_init
from workbench.painting.profiles import (
    FINISHED,
    USUAL,
    Sampling,
    chosen_sampling,
    inherited_sampling,
    recommended_sampling,
)
from workbench.painting.published_profiles import published_profile
from workbench.recipes.resolving import resolve_recipe
from workbench.sums.checking import verdict_of

LCM = {"solver": "lcm", "steps": [2, 4, 8], "guidance": [1.0, 2.0], "original_inference_steps": 50}

HYPER = {"solver": "tcd", "steps": [1, 8], "eta": 1.0, "guidance": [0, 0], "convention": "w"}
STRONG = {"solver": "ddim", "steps": [12], "guidance": [5, 8], "timestep_spacing": "trailing"}


@pytest.fixture
def shelf(based: Registry, lora: Callable[..., bytes], tmp_path: Path) -> Registry:
    """Vectors with and without a profile, on one base."""
    said: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("papercut", "style", {}),
        ("lcm", "acceleration", LCM),
        (
            "hyper",
            "acceleration",
            {"solver": "tcd", "steps": [1, 8], "eta": 1.0, "guidance": [0, 0], "convention": "w"},
        ),
        (
            "strong",
            "acceleration",
            {"solver": "ddim", "steps": [12], "guidance": [5, 8], "timestep_spacing": "trailing"},
        ),
        ("dmd", "acceleration", {"solver": "lcm", "timesteps": [999, 749, 499, 249]}),
        ("plain", "acceleration", {}),
        ("odd", "acceleration", {"solver": "euler_a", "steps": [6]}),
        ("tuned", "style", {"solver": "lcm", "steps": [2]}),
    )
    for seed, (name, kind, sampling) in enumerate(said):
        (tmp_path / f"{name}.safetensors").write_bytes(lora(seed))
        based.add(tmp_path / f"{name}.safetensors", kind=kind, name=name, draft=True, sampling=sampling)
    return based


def recommended(registry: Registry, recipe: str) -> Sampling:
    return recommended_sampling(registry, resolve_recipe(registry, recipe))


def chosen(registry: Registry, recipe: str, **said: Any) -> Sampling:
    return chosen_sampling(registry, resolve_recipe(registry, recipe), **said)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("papercut + lcm", Sampling(original_inference_steps=50)),
        ("0.8*papercut + hyper", Sampling(solver="tcd", steps=8, eta=1.0)),
        ("strong", Sampling(solver="ddim", steps=12, guidance=6.5)),
        ("dmd", Sampling(timesteps=(999, 749, 499, 249))),
        ("papercut + plain", USUAL),
        ("papercut + odd", USUAL),
        ("tuned + papercut", Sampling(steps=2)),
        ("tuned + lcm", Sampling(original_inference_steps=50)),
        ("papercut", FINISHED),
        ("papercut + 0*lcm", FINISHED),
        ("tiny", FINISHED),
    ],
)
def test_the_profile_of_the_acceleration_vector_is_taken(shelf: Registry, recipe: str, expected: Sampling) -> None:
    assert recommended(shelf, recipe) == expected


def test_a_base_that_was_distilled_says_how_it_paints(shelf: Registry) -> None:
    shelf.edit("tiny", changes={"sampling": {"solver": "lcm", "steps": [1, 2, 4, 8], "guidance": [3, 15]}})
    assert recommended(shelf, "tiny + papercut") == Sampling(guidance=9.0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"steps": 2}, Sampling(steps=2, original_inference_steps=50)),
        ({"guidance": None}, Sampling(original_inference_steps=50)),
        ({"solver": "ddim", "eta": 0.5}, Sampling(solver="ddim", eta=0.5)),
        ({"width": 96, "negative": "dull", "guidance": 2.0}, None),
    ],
)
def test_what_is_said_counts_and_the_rest_is_recommended(
    shelf: Registry, said: dict[str, Any], expected: Sampling | None
) -> None:
    found = chosen(shelf, "lcm", **said)
    assert found == (expected or Sampling(**said, original_inference_steps=50))


def test_what_does_not_go_with_a_word_is_left_to_the_solver(shelf: Registry) -> None:
    assert chosen(shelf, "dmd", steps=2) == Sampling(steps=2)
    assert chosen(shelf, "papercut", solver="lcm") == USUAL
    assert chosen(shelf, "papercut", solver="ddim") == Sampling(solver="ddim", steps=25, guidance=7.5)
    assert chosen(shelf, "lcm", sampling=FINISHED) == FINISHED
    assert chosen(shelf, "lcm", sampling=FINISHED, steps=9).steps == 9


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"solver": "dpn"}, UnknownSolver, "Did you mean"),
        ({"eta": 0.5}, UnsupportedSetting, "LCM has no eta"),
        ({"init_strength": 0.5}, UnsupportedSetting, "init strength 0.5 was given, but no picture"),
        ({"negative": "dull"}, UnsupportedSetting, "guidance 1 is none"),
    ],
)
def test_what_cannot_be_painted_is_refused_at_once(
    shelf: Registry, said: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        chosen(shelf, "lcm", **said)


@pytest.mark.parametrize(
    ("recipe", "said", "sentence"),
    [
        (
            "hyper",
            {"solver": "ddim", "steps": 4},
            "hyper:1 is made for solver tcd, not ddim; 1 or 8 steps, not 4; eta 1, not 0.",
        ),
        ("hyper", {"guidance": 3.0}, "hyper:1 is made for guidance 1, not 3."),
        ("lcm", {"original_inference_steps": 100}, "lcm:1 is made for original inference steps 50, not 100."),
        ("dmd", {"steps": 2}, "dmd:1 is made for timesteps 999, 749, 499, 249."),
        ("strong", {"spacing": "leading"}, "strong:1 is made for timestep spacing trailing, not leading."),
    ],
)
def test_leaving_a_profile_warns_in_its_own_words(
    shelf: Registry, recipe: str, said: dict[str, Any], sentence: str
) -> None:
    from arithmetic import SamplingSettings

    def told(sampling: Sampling) -> list[str]:
        settings = SamplingSettings(**sampling.judged)
        found = verdict_of(shelf, resolve_recipe(shelf, recipe), settings=settings).findings
        return [one.sentence for one in found if one.code == "sampling-constraints" and one.severity == "warning"]

    assert told(chosen(shelf, recipe, **said)) == [sentence]
    assert told(recommended(shelf, recipe)) == []


def test_what_is_made_of_a_recipe_inherits_the_profile(shelf: Registry) -> None:
    assert inherited_sampling(resolve_recipe(shelf, "papercut + 0.5*lcm")) == LCM
    assert inherited_sampling(resolve_recipe(shelf, "papercut + 0*lcm")) == {}
    assert inherited_sampling(resolve_recipe(shelf, "tuned")) == {}


@pytest.mark.parametrize(
    ("name", "solver", "steps", "guidance"),
    [
        ("latent-consistency/lcm-lora-sdv1-5", "lcm", [2, 3, 4, 5, 6, 7, 8], [1.0, 2.0]),
        ("TCD-SD15-LoRA", "tcd", list(range(2, 51)), [1.0, 1.0]),
        ("Hyper-SDXL-1step-lora.safetensors", "tcd", list(range(1, 9)), [1.0, 1.0]),
        ("Hyper-SD15-4steps-lora.safetensors", "ddim", [4], [1.0, 1.0]),
        ("Hyper-SD15-12steps-CFG-lora.safetensors", "ddim", [12], [5.0, 8.0]),
        ("sdxl_lightning_8step_lora.safetensors", "euler", [8], [1.0, 1.0]),
        ("pcm_sd15_smallcfg_2step_converted.safetensors", "ddim", [2], [1.0, 2.0]),
        ("pcm_sdxl_normalcfg_16step_converted.safetensors", "ddim", [16], [7.5, 7.5]),
        ("pcm_sd15_lcmlike_lora_converted.safetensors", "lcm", [2, 4, 8], [1.0, 1.0]),
        ("dmd2_sdxl_4step_lora_fp16.safetensors", "lcm", [4], [1.0, 1.0]),
    ],
)
def test_published_vectors_are_known_by_their_names(
    name: str, solver: str, steps: list[int], guidance: list[float]
) -> None:
    found = published_profile(name) or {}
    assert (found["solver"], found["steps"], found["guidance"]) == (solver, steps, guidance)


@pytest.mark.parametrize("name", ["papercut", "lightning strikes", "matchday", "hypernova", "lcm"])
def test_other_names_say_nothing(name: str) -> None:
    assert published_profile(name) is None


def test_an_imported_acceleration_vector_gets_the_profile_that_it_was_published_with(
    based: Registry, vector_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lcm-lora-sdv1-5"
    folder.mkdir()
    published = vector_file.rename(folder / "pytorch_lora_weights.safetensors")
    fast = import_file(based, published, name="fast", kind="acceleration")
    assert fast.sampling["solver"] == "lcm"
    assert recommended(based, "fast") == Sampling(original_inference_steps=50)
    assert recommended(based, str(published)) == Sampling(original_inference_steps=50)


def test_a_style_is_not_taken_for_an_acceleration_by_its_name(based: Registry, vector_file: Path) -> None:
    named = vector_file.rename(vector_file.with_name("my-lcm-lora.safetensors"))
    assert import_file(based, named, kind="style").sampling == {}


def test_the_picture_to_begin_with_is_kept_and_gives_its_size(registry: Registry, tmp_path: Path) -> None:
    Image.new("RGBA", (70, 45), "red").save(tmp_path / "sketch.png")
    kept = keep_init(registry, Sampling(init=str(tmp_path / "sketch.png"), init_strength=0.5))
    assert (kept.width, kept.height, len(kept.init or "")) == (64, 40, 64)
    assert keep_init(registry, kept) == kept
    assert open_init(registry, kept.init or "").size == (70, 45)
    sized = keep_init(registry, Sampling(init=str(tmp_path / "sketch.png"), width=128))
    assert (sized.width, sized.height) == (128, 40)
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(NotAPicture, match=r"words.png: no picture that can be opened"):
        keep_init(registry, Sampling(init=str(tmp_path / "words.png")))
    with pytest.raises(UnknownPath):
        keep_init(registry, Sampling(init=str(tmp_path / "missing.png")))


def test_a_sampling_is_read_from_its_record() -> None:
    sampling = Sampling(steps=2, negative="dull", guidance=2.0, init="ab" * 32, timesteps=(999, 1))
    assert Sampling.of_record({"prompt": "a circle", **sampling.said}) == sampling
    assert set(USUAL.said) == {"solver", "steps", "guidance", "spacing", "eta"}
