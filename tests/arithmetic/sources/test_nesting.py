"""Sums within sums and scopes on them: what reaches a module, once for each content, with which lambda."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arithmetic import Combination, Vector, inputs, parse, plan
from arithmetic.sources.combination import Scoped
from formats import Layout

CONV = "unet.conv_in"
TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FC1 = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
ATTENTION = parse("a{/attn1/: 0.5}").terms[0].scopes
UNET = parse("a{unet: 0.25}").terms[0].scopes

tenths = st.integers(-30, 30).map(lambda n: n / 10)


@pytest.fixture(scope="module")
def a(workshop: Any) -> Vector:
    return workshop.opened(workshop.draft(0))


@pytest.fixture(scope="module")
def b(workshop: Any) -> Vector:
    """The second half of the modules."""
    return workshop.opened(workshop.draft(1, tuple(workshop.table.modules)[5:]))


@settings(max_examples=30)
@given(tenths, tenths, tenths)
def test_lambdas_on_the_way_are_multiplied_and_added_as_decimals(
    a: Vector, b: Vector, x: float, y: float, z: float
) -> None:
    inner = Combination(((x, a), (1.0, b)))
    nested = Combination(((y, inner), (z, a)))
    exact = (round(x * 10) * round(y * 10) + round(z * 10) * 10) / 100
    expected = [(exact, a.name)] * bool(exact) + [(y, b.name)] * bool(y)
    assert [(weight, source.name) for weight, source in nested.terms_of(FC1)] == expected


def test_one_content_in_two_places_takes_its_rank_once(a: Vector, b: Vector) -> None:
    nested = Combination(((0.1, a), (1.0, Combination(((0.2, a), (1.0, b)))), (-0.5, Scoped(a, ATTENTION))))
    assert nested.terms_of(CONV) == ((-0.2, a),)
    assert nested.terms_of(TO_Q) == ((0.05, a),)
    assert nested.modules[TO_Q].rank == a.modules[TO_Q].rank


def test_one_content_in_two_files_is_one(workshop: Any, a: Vector) -> None:
    copy = workshop.opened(workshop.draft(0))
    assert copy.path != a.path
    assert plan(Combination(((1.0, a), (-1.0, copy)))).modules == ()
    assert Combination(((1.0, a), (0.5, Combination(((2.0, copy),))))).terms_of(CONV) == ((2.0, a),)


def test_the_same_vector_in_another_layout_is_another_content(workshop: Any, a: Vector) -> None:
    other = workshop.opened(workshop.draft(0), Layout.PEFT)
    assert len(Combination(((1.0, a), (-1.0, other))).terms_of(CONV)) == 2


def test_scopes_multiply_and_reach_what_is_inside_a_sum(a: Vector, b: Vector) -> None:
    scoped = Scoped(Combination(((0.4, a), (1.0, Scoped(b, ATTENTION)))), (*ATTENTION, *UNET))
    total = Combination(((2.0, scoped),))
    assert [weight for weight, _ in total.terms_of(TO_Q)] == [0.1]
    assert [weight for weight, _ in total.terms_of(CONV)] == [0.2]
    assert [weight for weight, _ in total.terms_of(FC1)] == [0.8, 2.0]


def test_what_a_nested_sum_says_and_computes_is_what_the_flat_one_does(a: Vector, b: Vector, workshop: Any) -> None:
    inner = Combination(((0.5, a), (-1.0, b)))
    nested, flat = (
        Combination(((2.0, Scoped(inner, UNET)),)),
        Combination(((1.0, Scoped(a, UNET)), (-2.0, Scoped(b, UNET)))),
    )
    assert list(nested.modules) == list(flat.modules) == list(workshop.table.modules)
    for module in nested.modules:
        assert nested.modules[module].rank == flat.modules[module].rank
        assert torch.equal(nested.delta(module).dense(), flat.delta(module).dense())
        own = scoped_delta = Scoped(inner, UNET).delta(module).dense()
        np.testing.assert_allclose(2 * own, nested.delta(module).dense(), rtol=0, atol=1e-14)
        assert scoped_delta.dtype is torch.float64


def test_a_module_that_cancels_is_none_of_a_sums(a: Vector, b: Vector) -> None:
    inner = Combination(((1.0, a), (-2.0, Scoped(a, ATTENTION)), (1.0, b)))
    assert TO_Q not in inner.modules
    assert CONV in inner.modules
    assert TO_Q not in Combination(((1.0, Scoped(inner, UNET)),)).modules


def test_the_content_tells_lambdas_scopes_order_and_depth_apart(a: Vector, b: Vector) -> None:
    sums = [
        Combination(((1.0, a), (1.0, b))),
        Combination(((1.0, b), (1.0, a))),
        Combination(((1.0, a), (0.5, b))),
        Combination(((1.0, a),)),
        Combination(((1.0, Scoped(a, ATTENTION)),)),
        Combination(((1.0, Scoped(a, UNET)),)),
        Combination(((1.0, Scoped(a, (*ATTENTION, *UNET))),)),
        Combination(((1.0, Combination(((1.0, a),))),)),
    ]
    assert len({total.content for total in sums}) == len(sums)
    assert Combination(((1.0, a), (1.0, b)), name="other").content == sums[0].content


def test_the_inputs_are_the_files_with_the_lambdas_that_lead_to_them(workshop: Any, a: Vector, b: Vector) -> None:
    """Each place where a file stands is one, whatever is made of it."""
    combination = workshop.bound("0.5*(a - 0.2*b | rank(2)) + 3*ties(0.1*a, b{/attn1|mlp/: 0.5})", a=a, b=b).combination
    assert [(weight, source) for weight, source in inputs(combination)] == [(0.5, a), (-0.1, b), (0.3, a), (3.0, b)]
