"""The shape of a weight as its adapter's tensors imply it, against the product that they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.shapes import contradiction, implied_shape, rank_of

OUT, IN, RANK = 24, 16, 3
SIZES = st.integers(1, 6)


def shapes(**arrays: np.ndarray) -> dict[str, tuple[int, ...]]:
    return {role: array.shape for role, array in arrays.items()}


@settings(derandomize=True, deadline=None)
@given(a=SIZES, b=SIZES, c=SIZES, d=SIZES, first=st.booleans(), second=st.booleans())
def test_a_lokr_implies_the_shape_of_its_kronecker_product(a, b, c, d, first, second) -> None:
    left, right = np.ones((a, b)), np.ones((c, d))
    roles = {"lokr_w1_a": np.ones((a, 2)), "lokr_w1_b": np.ones((2, b))} if first else {"lokr_w1": left}
    roles |= {"lokr_w2_a": np.ones((c, 2)), "lokr_w2_b": np.ones((2, d))} if second else {"lokr_w2": right}
    assert implied_shape(shapes(**roles)) == np.kron(left, right).shape


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (3, 1)])
def test_a_tucker_core_implies_the_shape_of_its_contraction(kernel: tuple[int, int]) -> None:
    up, core, down = np.ones((OUT, RANK)), np.ones((RANK, RANK, *kernel)), np.ones((RANK, IN))
    whole = np.einsum("or,rskl,si->oikl", up, core, down).shape
    assert implied_shape({"up": (OUT, RANK, 1, 1), "mid": core.shape, "down": (RANK, IN, 1, 1)}) == whole
    pair = {"hada_w1_a": up.T.shape, "hada_w1_b": down.shape, "hada_t1": core.shape}
    assert implied_shape(pair | {key.replace("1", "2", 1): shape for key, shape in pair.items()}) == whole
    second = {"lokr_w1": (2, 2), "lokr_w2_a": up.T.shape, "lokr_w2_b": down.shape, "lokr_t2": core.shape}
    assert implied_shape(second) == (2 * OUT, 2 * IN, *kernel)


def test_both_forms_of_glora_imply_the_shape_of_their_product() -> None:
    assert implied_shape({"b1": (OUT, RANK), "b2": (RANK, IN)}) == (OUT, IN)
    assert implied_shape({"b1": (RANK, IN), "b2": (OUT, RANK)}) == (OUT, IN)
    assert rank_of({"b1": (OUT, RANK), "b2": (RANK, IN)}) == rank_of({"b1": (RANK, IN), "b2": (OUT, RANK)}) == RANK
    square = (OUT, OUT)
    assert (
        implied_shape({"b1": (OUT, RANK), "b2": (RANK, OUT)})
        == implied_shape({"b1": (RANK, OUT), "b2": (OUT, RANK)})
        == square
    )


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ({"down": (3, 16)}, "pair"),
        ({"down": (3, 16), "up": (24, 4)}, "one rank"),
        ({"down": (3, 16), "up": (24, 3), "mid": (4, 3, 3, 3)}, "no core"),
        ({"hada_w1_a": (24, 3), "hada_w1_b": (3, 16)}, "hada_w2_a"),
        ({"hada_w1_a": (24, 3), "hada_w1_b": (3, 16), "hada_w2_a": (24, 3), "hada_w2_b": (3, 15)}, "one shape"),
        ({"lokr_w1": (4, 4)}, "lokr_w2_a"),
        ({"lokr_w1": (4,), "lokr_w2": (6, 4)}, "no Kronecker factors"),
        ({"b1": (24, 3), "b2": (4, 16)}, "one rank"),
        ({"embedding_down": (3, 100)}, "lora_embedding_B"),
        ({"oft_blocks": (4, 5, 5)}, "do not rotate 24 outputs"),
        ({"oft_blocks": (24,)}, "do not rotate 24 outputs"),
        ({"oft_r": (3, 6)}, "does not rotate 16 inputs"),
        ({"oft_r": (4, 5)}, "does not rotate 16 inputs"),
        ({"ia3_l": (17,)}, "16 or 24 numbers"),
        ({"down": (3, 16), "up": (24, 3), "magnitude": (1, 23)}, "16 or 24 numbers"),
        ({"diff": (24, 16), "diff_b": (16,)}, "none of 24 numbers"),
        ({"alpha": ()}, "alpha alone"),
    ],
)
def test_pieces_that_cannot_be_of_the_weight_say_why(pieces: dict, reason: str) -> None:
    assert reason in contradiction(pieces, (OUT, IN))


@pytest.mark.parametrize(
    "pieces",
    [
        {"down": (3, 16), "up": (24, 3), "magnitude": (24, 1)},
        {"down": (3, 16), "up": (24, 3), "magnitude": (1, 16)},
        {"oft_blocks": (4, 6, 6), "rescale": (24, 1)},
        {"oft_blocks": (2, 4, 6, 6)},
        {"oft_r": (4, 6)},
        {"oft_r": (1, 6)},
        {"ia3_l": (24, 1), "on_input": ()},
        {"ia3_l": (16,)},
        {"diff": (24, 16), "diff_b": (24,)},
        {"set_weight": (24, 16)},
        {"diff_b": (24,)},
    ],
)
def test_pieces_of_every_kind_fit_their_weight(pieces: dict) -> None:
    assert contradiction(pieces, (OUT, IN)) is None


def test_embeddings_have_turned_factors() -> None:
    assert implied_shape({"embedding_down": (3, 100), "embedding_up": (24, 3)}) == (100, 24)
