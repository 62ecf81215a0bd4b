"""Law 15: scopes that share the modules out add up to the whole."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arithmetic import Vector
from formats import Architecture, Layout, architecture

MASKS = (
    "{/attn1/: 1, else: 0}",
    "{/attn2/: 1, else: 0}",
    "{/proj_in|conv_in/: 1, else: 0}",
    "{/resnets/: 1, else: 0}",
    "{text_encoder: 1, else: 0}",
)
ADAPTED = (
    "unet.conv_in",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "unet.down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k",
    "unet.down_blocks.2.resnets.0.time_emb_proj",
    "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2",
    "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v",
    "unet.up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_q",
    "text_encoder.text_model.encoder.layers.3.self_attn.q_proj",
    "text_encoder.text_model.encoder.layers.3.self_attn.out_proj",
)

few = settings(max_examples=6)


@cache
def sd15() -> Architecture:
    """Whose block lists kohya's tools know."""
    return architecture("sd15")


@pytest.fixture(scope="module")
def large(workshop: Any) -> Vector:
    """A vector of SD-1.5."""
    drawn = workshop.draft(0, ADAPTED, architecture=sd15())
    return workshop.opened(drawn, table=sd15())


@few
@given(st.integers(0, 50), st.permutations(MASKS), st.decimals(-2, 2, places=2).filter(bool))
def test_one_hot_scopes_in_one_recipe_add_up_to_the_whole_vector_to_the_bit(
    workshop: Any, seed: int, masks: list[str], x: float
) -> None:
    """Law 15."""
    a = workshop.opened(workshop.draft(seed))
    text = " + ".join(f"{x}*a{mask}" for mask in masks).replace("+ -", "- ")
    split, whole = workshop.deltas(text, a=a), workshop.deltas(f"{x}*a", a=a)
    assert split.keys() == whole.keys()
    assert all(np.array_equal(split[module], whole[module]) for module in whole)


@few
@given(st.integers(0, 50))
def test_files_of_one_scope_each_hold_the_parts_of_the_whole_to_the_bit(workshop: Any, seed: int) -> None:
    """Law 15. In diffusers files, which fold nothing into a factor for another module's sake."""
    a = workshop.opened(workshop.draft(seed))
    whole, parts = workshop.deltas("0.7*a", Layout.DIFFUSERS, a=a), {}
    for mask in MASKS:
        part = workshop.deltas(f"0.7*a{mask}", Layout.DIFFUSERS, a=a)
        assert parts.keys().isdisjoint(part)
        parts |= part
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[module], whole[module]) for module in whole)


@few
@given(st.decimals(0, 1, places=3))
def test_a_scope_and_its_complement_are_the_vector(workshop: Any, worst_error: Callable, x: float) -> None:
    """Law 15."""
    drawn = workshop.draft(4)
    a, b = workshop.opened(drawn), workshop.opened(drawn, Layout.PEFT)
    text = f"a{{/attn/: {x}, else: 1}} + b{{/attn/: {1 - x}, else: 0}}"
    assert worst_error(workshop.deltas(text, a=a, b=b), [(1.0, drawn.deltas())]) < 1e-6


@pytest.mark.parametrize("length", [17, 26])
def test_one_hot_block_lists_add_up_to_what_the_list_covers_to_the_bit(
    length: int, large: Vector, workshop: Any, read_deltas: Callable
) -> None:
    """Law 15, with kohya's lists: BASE (the text encoder) is their first entry."""
    rows = [[int(i == place) for i in range(length)] for place in range(length)]
    summed = workshop.composed(" + ".join(f"a{{lbw: {row}, else: 0}}" for row in rows), a=large)
    whole = read_deltas(workshop.composed(f"a{{lbw: {[1] * length}, else: 0}}", a=large), ADAPTED)
    found = read_deltas(summed, ADAPTED)
    assert len(whole) > length // 3
    assert found.keys() == whole.keys()
    assert all(np.array_equal(found[module], whole[module]) for module in whole)


def test_a_block_list_multiplies_lambda_block_by_block(large: Vector, workshop: Any, read_deltas: Callable) -> None:
    """Law 15: IN01 is 0.25, M00 is -0.5, BASE 2; 17 entries are BASE, IN01, IN02, IN04 to IN08, M00, OUT03 to OUT11."""
    rates = [2, 0.25, 1, 1, 1, 1, 1, -0.5, *[1] * 9]
    scoped = read_deltas(workshop.composed(f"0.8*a{{lbw: {rates}}}", a=large), ADAPTED)
    plain = read_deltas(large.path, ADAPTED)
    expected = {ADAPTED[1]: 0.25, ADAPTED[4]: -0.5, ADAPTED[7]: 2.0, ADAPTED[8]: 2.0}
    for module, delta in plain.items():
        np.testing.assert_allclose(scoped[module], 0.8 * expected.get(module, 1.0) * delta, rtol=0, atol=1e-7)
