"""Where a file keeps what it holds: biases and normalisations, alphas, and room for ranks that are found on the way."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from arithmetic import AlgebraError, Precision, ValidationRefused, Vector, check, open_vector, plan, verify
from arithmetic.files.blueprint import Blueprint, draw
from arithmetic.sources.combination import Combination, ModulePlan, Plan
from formats import Architecture, Layout

CHANNELS = {
    "unet.conv_in.bias": ("lora_unet_conv_in.diff_b", "diffusion_model.input_blocks.0.0.diff_b"),
    "unet.down_blocks.0.resnets.0.norm1.weight": (
        "lora_unet_down_blocks_0_resnets_0_norm1.w_norm",
        "diffusion_model.input_blocks.1.0.in_layers.0.w_norm",
    ),
    "unet.down_blocks.0.resnets.0.norm1.bias": (
        "lora_unet_down_blocks_0_resnets_0_norm1.b_norm",
        "diffusion_model.input_blocks.1.0.in_layers.0.b_norm",
    ),
}


@pytest.fixture(scope="module")
def opened(workshop: Any) -> dict[str, Vector]:
    """Two LoRAs of conv_in with changes of its bias and of a normalisation; b lacks the normalisation's bias."""
    made = {}
    for seed, name in enumerate("ab"):
        generator, path = torch.Generator().manual_seed(seed), workshop.place()
        tensors = load_file(workshop.opened(workshop.draft(seed, ("unet.conv_in",))).path)
        keys = [kohya for kohya, _ in CHANNELS.values()][: 3 - seed]
        tensors |= {key: torch.randn(10, generator=generator) for key in keys}
        save_file(tensors, path)
        made[name] = open_vector(path, workshop.table, name=name)
    return made


@pytest.mark.parametrize(("layout", "place"), [(Layout.KOHYA, 0), (Layout.KOHYA_SGM, None), (Layout.COMFY, 1)])
@pytest.mark.parametrize("stage", ["", " | rank(2)"])
def test_biases_and_normalisations_are_summed_and_written_as_they_are(
    layout: Layout, place: int | None, stage: str, opened: dict[str, Vector], workshop: Any
) -> None:
    text = f"0.5*a - 2*b{stage}"
    path = workshop.composed(text, layout, **opened)
    written, stored = open_vector(path, workshop.table), load_file(path)
    inputs = {name: load_file(vector.path) for name, vector in opened.items()}
    for module, keys in CHANNELS.items():
        terms = [(0.5, inputs["a"].get(keys[0])), (-2.0, inputs["b"].get(keys[0]))]
        expected = sum(weight * tensor.double() for weight, tensor in terms if tensor is not None)
        found = stored[keys[place]] if place is not None else written.delta(module).dense().flatten()
        assert torch.equal(found.float(), expected.float())
    assert verify(path, workshop.bound(text, **opened).combination).worst_relative_error < 1e-6


@pytest.mark.parametrize("layout", [Layout.DIFFUSERS, Layout.PEFT])
def test_a_layout_without_a_place_for_biases_is_a_finding_and_an_error(
    layout: Layout, opened: dict[str, Vector], workshop: Any
) -> None:
    combination = workshop.bound("a + b", **opened).combination
    errors = [finding.code for finding in check(combination, layout=layout).errors]
    assert errors == ["no-place-for-channels"]
    with pytest.raises(ValidationRefused, match="kohya or comfy"):
        workshop.composed("a + b", layout, **opened)
    with pytest.raises(AlgebraError, match="hold no biases or normalisations"):
        draw(plan(combination), layout, Precision.FP32).slots()


def test_a_scope_reaches_a_bias_as_it_reaches_its_module(opened: dict[str, Vector], workshop: Any) -> None:
    stored = load_file(workshop.composed("a{unet.down: 0.5, else: 0.25}", a=opened["a"]))
    before = load_file(opened["a"].path)
    for (kohya, _), factor in zip(CHANNELS.values(), (0.25, 0.5, 0.5), strict=True):
        assert torch.equal(stored[kohya], before[kohya] * factor)


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.KOHYA_SGM, Layout.COMFY])
def test_one_alpha_stands_for_all_modules(layout: Layout, workshop: Any) -> None:
    path = workshop.composed("a", layout, a=workshop.opened(workshop.draft(0)))
    assert {float(t) for key, t in load_file(path).items() if key.endswith(".alpha")} == {4.0}


def test_a_diffusers_file_has_alpha_equal_to_the_rank_in_every_module(workshop: Any) -> None:
    path = workshop.composed("a", Layout.DIFFUSERS, a=workshop.opened(workshop.draft(0)))
    with safe_open(path, framework="pt") as file:
        stated = json.loads(file.metadata()["lora_adapter_metadata"])
    for component in ("unet", "text_encoder"):
        assert stated[f"{component}.r"] == stated[f"{component}.lora_alpha"]
        assert stated[f"{component}.rank_pattern"] == stated[f"{component}.alpha_pattern"]


class Limited:
    """A source whose ranks are only limits."""

    def __init__(self, architecture: Architecture, ranks: Mapping[str, int]) -> None:
        self.name, self.architecture, self.content, self.origins = "limited", architecture, "limited", ()
        self.modules = {module: _Sized(rank) for module, rank in ranks.items()}
        self.parts = ((1.0, self),)


class _Sized:
    def __init__(self, rank: int) -> None:
        self.rank = rank


@settings(max_examples=100)
@given(data=st.data())
def test_the_header_has_room_for_whatever_ranks_are_found(data: st.DataObject, table: Architecture) -> None:
    modules = data.draw(st.lists(st.sampled_from(tuple(table.modules)), min_size=1, unique=True))
    limits = {module: data.draw(st.integers(1, 120)) for module in modules}
    found = {module: data.draw(st.integers(1, most)) for module, most in limits.items()}
    source = Limited(table, limits)
    planned = tuple(ModulePlan(module, table.modules[module], ((1.0, source),)) for module in modules)
    for layout in (Layout.DIFFUSERS, Layout.KOHYA):
        drawn = Blueprint(Plan(table, planned), layout, Precision.FP32)
        room, needed = drawn.widest_metadata(), drawn.metadata(found)
        assert room.keys() == needed.keys()
        assert all(len(json.dumps(needed[key])) <= len(json.dumps(room[key])) for key in needed)


@pytest.mark.parametrize("layout", [Layout.DIFFUSERS, Layout.PEFT, Layout.KOHYA, Layout.COMFY])
@pytest.mark.parametrize("stage", ["energy(0.5)", "error(0.6)", "rank(2)"])
def test_ranks_that_are_found_while_writing_are_what_the_file_says(
    layout: Layout, stage: str, workshop: Any, read_ranks: Any
) -> None:
    opened = {"a": workshop.opened(workshop.draft(0)), "b": workshop.opened(workshop.draft(1))}
    path = workshop.composed(f"a + b | {stage}", layout, **opened)
    written = open_vector(path, workshop.table)
    assert {m: entry.rank for m, entry in written.modules.items()} == read_ranks(path)
    assert sum(read_ranks(path).values()) < sum(entry.rank for one in opened.values() for entry in one.modules.values())


def test_a_term_kept_as_a_matrix_has_no_slot(workshop: Any) -> None:
    bound = workshop.bound("ties(a, b)", a=workshop.opened(workshop.draft(0)), b=workshop.opened(workshop.draft(1)))
    with pytest.raises(AlgebraError, match=r"no low-rank delta\. Give it a rank"):
        draw(plan(bound.combination), Layout.KOHYA, Precision.FP32).slots()


def test_paths_of_files_are_no_part_of_what_is_drawn(opened: dict[str, Vector], tmp_path: Path, workshop: Any) -> None:
    """The same content elsewhere is the same plan and the same slots."""
    (tmp_path / "copy").write_bytes(opened["a"].path.read_bytes())
    copy = open_vector(tmp_path / "copy", workshop.table, name="other")
    one, other = (
        draw(plan(Combination(((1.0, vector),))), Layout.KOHYA, Precision.FP16).slots()
        for vector in (opened["a"], copy)
    )
    assert one == other
