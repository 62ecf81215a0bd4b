"""What the tree of a recipe computes: vectors, bases with coefficients, calls."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from arithmetic import (
    BindingRefused,
    ScopeMismatch,
    ValidationRefused,
    Vector,
    Weights,
    bake,
    open_vector,
    open_weights,
)

few = settings(max_examples=8)
TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture(scope="module")
def opened(workshop: Any) -> dict[str, Vector | Weights]:
    """Vectors a and b, bases x, y and z in float64."""
    x = workshop.base(1)
    vectors = {name: workshop.opened(workshop.draft(seed)) for name, seed in (("a", 0), ("b", 1))}
    return {**vectors, "x": x, "y": workshop.base(2, near=x), "z": workshop.base(3)}


@pytest.fixture(scope="module")
def dora(workshop: Any) -> Vector:
    """A LoRA with magnitudes in one module, and a plain pair in another."""
    path, drawn = workshop.place(), workshop.draft(2, modules=(TO_Q, "unet.conv_in"))
    tensors = load_file(workshop.opened(drawn).path)
    tensors[f"{STEM}.dora_scale"] = torch.rand(10, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    save_file(tensors, path)
    return open_vector(path, workshop.table, name="dora")


def dense(base: Weights, module: str) -> np.ndarray:
    return base.weight(module).double().flatten(1).numpy() if "bias" not in module else base.weight(module).numpy()


@pytest.mark.parametrize(
    ("text", "coefficients"),
    [
        ("x", {"x": 1.0}),
        ("x + 0.8*a", {"x": 1.0}),
        ("0.5*x + 0.5*y", {"x": 0.5, "y": 0.5}),
        ("0.1*x + 0.2*y + 0.7*z", {"x": 0.1, "y": 0.2, "z": 0.7}),
        ("x + (y - z)", {"x": 1.0, "y": 1.0, "z": -1.0}),
        ("2*x - y + 0.5*a | rank(2)", {"x": 2.0, "y": -1.0}),
    ],
)
def test_bases_whose_coefficients_add_up_to_one_are_a_checkpoint(
    text: str, coefficients: dict[str, float], opened: dict, workshop: Any
) -> None:
    bound = workshop.bound(text, **opened)
    names = {opened[name].name: weight for name, weight in coefficients.items()}
    assert {base.name: weight for weight, base in bound.bases} == names
    assert (bound.combination is None) == ("a" not in text)


def test_bases_whose_coefficients_add_up_to_nothing_are_a_vector(
    opened: dict, workshop: Any, worst_error: Callable
) -> None:
    """Of matrices: as a file it takes a rank, here one that loses nothing."""
    bound = workshop.bound("0.7*(y - x) + a", **opened)
    assert bound.bases == ()
    difference = {m: 0.7 * (dense(opened["y"], m) - dense(opened["x"], m)) for m in workshop.table.modules}
    expected = [(1.0, difference), (1.0, workshop.read(opened["a"].path))]
    chosen = {name: one for name, one in opened.items() if name in "axy"}
    bare = workshop.composed("0.7*(extract(y - x; rank=99, channels=false) | rank(99)) + a", **chosen)
    assert worst_error(workshop.read(bare), expected) < 1e-5
    with pytest.raises(ValidationRefused, match="dense-result"):
        workshop.composed("0.7*(y - x) + a", **chosen)


@pytest.mark.parametrize("text", ["0.5*x", "x + y", "x + y - 0.5*z + a", "0.3*x + 0.8*y", "-1*x + a"])
def test_bases_whose_coefficients_add_up_to_anything_else_are_refused(text: str, opened: dict, workshop: Any) -> None:
    with pytest.raises(BindingRefused, match="add up to"):
        workshop.bound(text, **opened)


def test_decimals_of_bases_are_added_as_decimals(opened: dict, workshop: Any) -> None:
    """0.1 + 0.2 + 0.7 is 1.0000000000000002 or 1.0 in binary, whatever the order."""
    for text in ("0.1*x + 0.2*y + 0.7*z", "0.7*x + 0.1*y + 0.2*z"):
        assert len(workshop.bound(text, **opened).bases) == 3
    assert workshop.bound("0.3*x - 0.1*y - 0.2*z", **opened).bases == ()


@few
@given(st.decimals(-1, 2, places=2))
def test_what_is_baked_is_the_sum_of_the_bases_and_the_vector(opened: dict, workshop: Any, c: float) -> None:
    text = f"{c}*x + {1 - c}*y + 0.8*a" if 0 < c < 1 else "x + (y - z) + 0.8*a"
    weights = {"x": float(c), "y": 1 - float(c)} if 0 < c < 1 else {"x": 1.0, "y": 1.0, "z": -1.0}
    bound, path = workshop.bound(text, **opened), workshop.place()
    bake(bound.bases, bound.combination, path)
    baked, delta = open_weights(path, workshop.table), workshop.read(opened["a"].path)
    for module in workshop.table.modules:
        expected = sum(weight * dense(opened[name], module) for name, weight in weights.items())
        expected = expected + 0.8 * delta.get(module, 0.0)
        np.testing.assert_allclose(dense(baked, module), expected, rtol=0, atol=1e-12)


def test_an_extraction_through_a_file_is_the_difference_of_the_bases(
    opened: dict, workshop: Any, worst_error: Callable
) -> None:
    """Enough rank; the module that does not differ is no part of it."""
    chosen = {name: opened[name] for name in "xy"}
    found = workshop.deltas("extract(y - x; rank=99, channels=false)", **chosen)
    difference = {m: dense(opened["y"], m) - dense(opened["x"], m) for m in workshop.table.modules}
    assert tuple(workshop.table.modules)[-1] not in found
    assert worst_error(found, [(1.0, {m: d for m, d in difference.items() if d.any()})]) < 1e-5


@pytest.mark.parametrize(
    "text", ["extract(a; rank=4)", "extract(y - x + a; rank=4)", "extract(a - b; rank=2)"], ids=["one", "mixed", "two"]
)
def test_an_extraction_takes_bases_alone(text: str, opened: dict, workshop: Any) -> None:
    with pytest.raises(BindingRefused, match="takes bases alone"):
        workshop.bound(text, **opened)


@pytest.mark.parametrize("text", ["extract(x + y; rank=4)", "ties(x, a)", "(x + a | rank(4)) + b"])
def test_bases_inside_a_vector_have_to_be_a_difference(text: str, opened: dict, workshop: Any) -> None:
    with pytest.raises(BindingRefused, match="expected 0"):
        workshop.bound(text, **opened)


def test_a_difference_inside_a_method_is_an_argument(opened: dict, workshop: Any) -> None:
    (_, merged), *_ = workshop.bound("ties(0.5*(y - x), a)", **opened).combination.terms
    delta = merged.arguments[0][1].delta("unet.conv_in").dense().numpy() * merged.arguments[0][0]
    expected = 0.5 * (dense(opened["y"], "unet.conv_in") - dense(opened["x"], "unet.conv_in"))
    np.testing.assert_allclose(delta, expected, rtol=0, atol=1e-14)


def test_the_rank_of_a_checkpoint_is_refused(opened: dict, workshop: Any) -> None:
    with pytest.raises(BindingRefused, match="lowers the rank of a checkpoint"):
        workshop.bound("0.5*x + 0.5*y | rank(4)", **opened)


@pytest.mark.parametrize("text", ["x{unet: 0.5} + a", "0.5*x{unet: 1} + 0.5*y"])
def test_a_scope_on_a_base_is_refused(text: str, opened: dict, workshop: Any) -> None:
    with pytest.raises(BindingRefused, match="a scope on a base"):
        workshop.bound(text, **opened)


@pytest.mark.parametrize("text", ["a{unet.up: 0.5}", "(a + b | rank(2)){/no_such/: 0}", "ties(a{unet.mid: 1}, b)"])
def test_a_rule_that_has_no_module_is_refused_wherever_it_stands(text: str, opened: dict, workshop: Any) -> None:
    with pytest.raises(ScopeMismatch, match="has none of the"):
        workshop.bound(text, **opened)


def test_what_depends_on_a_base_takes_the_recipes_own_before_the_given_one(
    opened: dict, dora: Vector, workshop: Any
) -> None:
    text, chosen = "on_base(0.8*d; dialect=lycoris)", {"d": dora, **opened}
    by_recipe = workshop.bound(f"x + {text}", base=opened["z"], **chosen).combination.delta(TO_Q).dense()
    by_argument = workshop.bound(text, base=opened["x"], **chosen).combination.delta(TO_Q).dense()
    by_other = workshop.bound(text, base=opened["z"], **chosen).combination.delta(TO_Q).dense()
    assert torch.equal(by_recipe, by_argument)
    assert not torch.allclose(by_recipe, by_other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("on_base(0.8*d; dialect=peft)", "depends on the base's weights"),
        ("x + on_base(0.8*d + a; dialect=peft)", "takes one vector and its strength"),
        ("x + on_base(ties(d, a); dialect=peft)", "takes one vector and its strength"),
        ("x + on_base(d{unet: 0.5}; dialect=peft)", "takes one vector and its strength"),
    ],
    ids=["no base", "a sum", "a method", "a scope"],
)
def test_what_depends_on_a_base_takes_one_vector_and_a_base(
    text: str, message: str, opened: dict, dora: Vector, workshop: Any
) -> None:
    with pytest.raises(BindingRefused, match=message):
        workshop.bound(text, d=dora, **opened)


def test_magnitudes_on_a_base_are_baked_whole_and_composed_at_a_rank(
    opened: dict, dora: Vector, workshop: Any, worst_error: Callable
) -> None:
    """LyCORIS's formula by numpy: (W + dW) (s (d / ||W + dW|| - 1) + 1), norms of rows."""
    text, chosen = "on_base(0.8*d; dialect=lycoris)", {"d": dora, "x": opened["x"]}
    base, plain = dense(opened["x"], TO_Q), workshop.draft(2, modules=(TO_Q, "unet.conv_in")).deltas()
    scale = load_file(dora.path)[f"{STEM}.dora_scale"].double().numpy()
    adapted = base + plain[TO_Q]
    norms = np.linalg.norm(adapted, axis=1, keepdims=True)
    expected = {
        TO_Q: adapted * (0.8 * (scale / norms - 1) + 1) - base,
        "unet.conv_in": 0.8 * plain["unet.conv_in"],
    }
    path, bound = workshop.place(), workshop.bound(f"x + {text}", **chosen)
    bake(bound.bases, bound.combination, path)
    baked = open_weights(path, workshop.table)
    for module, delta in expected.items():
        np.testing.assert_allclose(dense(baked, module), dense(opened["x"], module) + delta, rtol=0, atol=1e-12)
    with pytest.raises(ValidationRefused, match="dense-result"):
        workshop.composed(text, base=opened["x"], d=dora)
    found = workshop.deltas(f"{text} | rank(99)", base=opened["x"], d=dora)
    assert worst_error(found, [(1.0, expected)]) < 1e-5
    lower = workshop.deltas(f"{text} | rank(3)", base=opened["x"], d=dora)
    sigma = np.linalg.svd(expected[TO_Q], compute_uv=False)
    error = np.linalg.norm(lower[TO_Q] - expected[TO_Q])
    assert error == pytest.approx(np.linalg.norm(sigma[3:]), rel=1e-4)


@pytest.mark.parametrize(
    "text", ["d", "ties(d, a)", "0.5*d{unet: 1} + a", "(d + a | rank(4))", "(ties(a, d) | rank(4))"]
)
def test_magnitudes_without_a_base_are_a_finding_wherever_they_stand(
    text: str, opened: dict, dora: Vector, workshop: Any
) -> None:
    with pytest.raises(ValidationRefused, match="needs-base"):
        workshop.composed(text, d=dora, a=opened["a"])
