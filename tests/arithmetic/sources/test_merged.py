"""A method as a source: who takes part in a module, what a scope is to it, what its result is of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from arithmetic import Merged, MethodRefused, Vector
from arithmetic.deltas import Dense, LowRank

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "unet.conv_in"


@pytest.fixture(scope="module")
def opened(workshop: Any) -> dict[str, Vector]:
    """a has all modules, b all but conv_in, c conv_in alone; one rank and alpha, so that any tool can add them."""
    modules = tuple(workshop.table.modules)
    own = {"a": modules, "b": modules[1:], "c": modules[:1]}
    drawn = {n: workshop.draft(i, m, ranks=(3,), alphas=(2.0,)) for i, (n, m) in enumerate(own.items())}
    return {name: workshop.opened(one) for name, one in drawn.items()}


@pytest.fixture
def merged(opened: dict[str, Vector], workshop: Any) -> Callable[[str], Merged]:
    """merged(text) -> the only term of a recipe."""
    return lambda text: workshop.bound(text, **opened).combination.terms[0][1]


def dense(source: Any, module: str) -> np.ndarray:
    return source.delta(module).dense().numpy()


def test_an_argument_that_lacks_a_module_takes_no_part_in_it(
    merged: Callable[[str], Merged], opened: dict[str, Vector]
) -> None:
    """PEFT's TIES divides by a count: with zeros for b, conv_in would be another."""
    both = merged("ties(a, b; density=1)")
    np.testing.assert_allclose(dense(both, CONV), dense(opened["a"], CONV), rtol=1e-12)
    alone = merged("ties(a; density=1)")
    np.testing.assert_array_equal(dense(both, CONV), dense(alone, CONV))


def test_an_argument_with_a_role_is_handed_as_zeros_where_it_lacks_a_module(
    merged: Callable[[str], Merged], opened: dict[str, Vector]
) -> None:
    """project(style, acceleration): without an acceleration nothing is taken out; without a style nothing is left."""
    unmatched = merged("project(0.7*a, b; k=2)")
    np.testing.assert_allclose(dense(unmatched, CONV), 0.7 * dense(opened["a"], CONV), rtol=0, atol=1e-12)
    assert not dense(merged("project(b, c; k=2)"), CONV).any()


def test_a_weight_of_a_single_term_is_the_arguments_and_of_several_in_the_sum(
    merged: Callable[[str], Merged],
) -> None:
    assert [weight for weight, _ in merged("ties(0.7*a, 0.5*b + c)").arguments] == [0.7, 1.0]
    assert [weight for weight, _ in merged("ties(0.7*(a + b | rank(2)), b)").arguments] == [0.7, 1.0]


@pytest.mark.parametrize("call", ["peft-linear", "kohya-merge", "kohya-concat", "supermerger"])
def test_a_scope_inside_another_tools_sum_is_its_block_weight(
    call: str, merged: Callable[[str], Merged], opened: dict[str, Vector]
) -> None:
    """Handed apart from lambda: it reaches the module that it names and no other."""
    scoped, plain = merged(f"{call}(0.8*a{{/attn1/: 0.5}}, 0.6*b)"), merged(f"{call}(0.8*a, 0.6*b)")
    assert not np.allclose(dense(scoped, TO_Q), dense(plain, TO_Q), rtol=1e-3)
    untouched = "unet.down_blocks.0.attentions.0.proj_in"
    np.testing.assert_array_equal(dense(scoped, untouched), dense(plain, untouched))
    parts = [(0.8, opened["a"].factors(TO_Q)), (0.6, opened["b"].factors(TO_Q))]
    expected = scoped.method.apply(parts, blocks=[0.5, 1.0]).dense().numpy()
    np.testing.assert_array_equal(dense(scoped, TO_Q), expected)


def test_kohyas_negative_block_weight_turns_positive_and_ours_does_not(
    merged: Callable[[str], Merged], opened: dict[str, Vector], workshop: Any
) -> None:
    """kohya multiplies both factors by the block weight (merge_lora.py, 319-323); a scope multiplies lambda."""
    up, down = (merged(f"kohya-merge(a{{/attn1/: {sign}0.5}})") for sign in ("", "-"))
    np.testing.assert_array_equal(dense(up, TO_Q), dense(down, TO_Q))
    ours = workshop.bound("a{/attn1/: -0.5}", a=opened["a"]).combination
    np.testing.assert_allclose(dense(ours, TO_Q), -0.5 * dense(opened["a"], TO_Q), rtol=1e-12)


def test_a_core_method_on_factors_is_the_dense_method_on_matrices(
    merged: Callable[[str], Merged], opened: dict[str, Vector]
) -> None:
    """In the R x R core, with the result's factors no wider than the sum of the ranks."""
    for call in ("tsv(a, 0.5*b)", "iso(a, 0.5*b)", "project(a, b; k=1)"):
        one = merged(call)
        delta = one.delta(TO_Q)
        assert isinstance(delta, LowRank)
        assert delta.rank <= one.modules[TO_Q].rank == 6
        weights = [weight for weight, _ in one.arguments]
        matrices = [source.delta(TO_Q).dense() for _, source in one.arguments]
        options = {name: value for name, value in one.options if name != "seed"}
        whole = one.method.apply(matrices, weights, generator=torch.Generator(), **options)
        torch.testing.assert_close(delta.dense(), whole, rtol=0, atol=1e-12)


def test_an_entrywise_method_has_a_matrix_and_says_so_before_it_is_computed(merged: Callable[[str], Merged]) -> None:
    one = merged("ties(a, b)")
    assert one.modules[TO_Q].rank is None
    assert isinstance(one.delta(TO_Q), Dense)


def test_a_matrix_has_no_place_in_another_tools_sum_of_factors(merged: Callable[[str], Merged]) -> None:
    with pytest.raises(MethodRefused, match=r"takes low-rank factors, got a matrix"):
        merged("peft-linear(ties(a, b), b)").delta(TO_Q)


def test_what_another_tool_refuses_names_the_module(workshop: Any) -> None:
    """kohya asserts equal ranks."""
    opened = {"a": workshop.opened(workshop.draft(0)), "b": workshop.opened(workshop.draft(1, ranks=(2, 5)))}
    (_, one), *_ = workshop.bound("kohya-merge(a, b)", **opened).combination.terms
    with pytest.raises(MethodRefused, match=r"unet\.conv_in"):
        one.delta(CONV)


def test_the_content_is_of_the_method_its_options_and_its_arguments_in_order(merged: Callable[[str], Merged]) -> None:
    texts = (
        "dare(a, b)",
        "dare(b, a)",
        "dare(a, 0.5*b)",
        "dare(a, b; seed=1)",
        "della(a, b)",
        "dare(a, b{/attn1/: 0.5})",
    )
    contents = [merged(text).content for text in texts]
    assert len(set(contents)) == len(texts)
    assert merged("dare(a, b)").content == contents[0]


def test_methods_nest(merged: Callable[[str], Merged], opened: dict[str, Vector], workshop: Any) -> None:
    outer = merged("magnitude(0.5*(ties(a, b; density=1) + a); density=1)")
    inner = workshop.bound("0.5*ties(a, b; density=1) + 0.5*a", **opened).combination
    for module in workshop.table.modules:
        np.testing.assert_allclose(dense(outer, module), dense(inner, module), rtol=0, atol=1e-12)
