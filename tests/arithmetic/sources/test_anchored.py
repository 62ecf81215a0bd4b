"""What depends on the base: ComfyUI's semantics re-derived in numpy, who refuses what, and the source of a recipe."""

import json
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from arithmetic import AlgebraError, DialectRefused, OnBase, ShapeMismatch, Vector, anchored_delta, open_vector
from formats import Architecture

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
MODULE = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
OUT, IN = 10, 7
CONV_STEM, CONV = "lora_unet_down_blocks_0_resnets_0_conv1", "unet.down_blocks.0.resnets.0.conv1"


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


@pytest.fixture
def opened(table: Architecture, tmp_path: Path) -> Callable[..., Vector]:
    """opened(pieces, stem) -> a vector with these pieces."""

    def make(pieces: dict[str, Tensor], stem: str = STEM) -> Vector:
        save_file({f"{stem}.{end}": one.contiguous() for end, one in pieces.items()}, tmp_path / "v")
        return open_vector(tmp_path / "v", table)

    return make


def exact(tensor: Tensor) -> np.ndarray:
    return tensor.double().numpy()


PAIR = {"lora_up.weight": drawn(1, OUT, 3), "lora_down.weight": drawn(2, 3, IN), "alpha": torch.tensor(1.5)}
BASE = drawn(3, OUT, IN)
CHANGE = 0.5 * exact(PAIR["lora_up.weight"]) @ exact(PAIR["lora_down.weight"])


@pytest.mark.parametrize("strength", [1.0, 0.7, -0.5])
def test_comfyui_measures_outputs_on_the_base_and_inputs_on_the_sum(strength: float, opened: Callable) -> None:
    base = exact(BASE)
    adapted = base + CHANGE
    by_output, by_input = drawn(4, OUT, 1).abs(), drawn(5, 1, IN).abs()
    expected = strength * (adapted * exact(by_output) / np.linalg.norm(base, axis=1, keepdims=True) - base)
    found = anchored_delta(opened({**PAIR, "dora_scale": by_output}), MODULE, BASE, strength, "comfy").dense()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    expected = strength * (adapted * exact(by_input) / np.linalg.norm(adapted, axis=0, keepdims=True) - base)
    found = anchored_delta(opened({**PAIR, "dora_scale": by_input}), MODULE, BASE, strength, "comfy").dense()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_at_strength_0_one_reader_of_dora_adds_nothing_and_two_do(opened: Callable) -> None:
    vector = opened({**PAIR, "dora_scale": drawn(4, OUT, 1).abs()})
    added = {name: anchored_delta(vector, MODULE, BASE, 0.0, name).dense() for name in ("peft", "lycoris", "comfy")}
    assert not added["comfy"].any()
    np.testing.assert_allclose(added["lycoris"].numpy(), CHANGE, rtol=0, atol=1e-12)
    rows = exact(drawn(4, OUT, 1).abs()) / np.linalg.norm(exact(BASE), axis=1, keepdims=True)
    np.testing.assert_allclose(added["peft"].numpy(), (rows - 1) * exact(BASE), rtol=0, atol=1e-12)


def test_at_strength_1_peft_and_lycoris_agree_on_dora(opened: Callable) -> None:
    vector = opened({**PAIR, "dora_scale": drawn(4, OUT, 1).abs()})
    peft, lycoris = (anchored_delta(vector, MODULE, BASE, 1.0, name).dense() for name in ("peft", "lycoris"))
    torch.testing.assert_close(peft, lycoris, rtol=0, atol=1e-13)


def test_a_base_with_a_row_of_zeros_is_no_quiet_infinity(opened: Callable) -> None:
    base = BASE.clone()
    base[2] = 0
    vector = opened({**PAIR, "dora_scale": drawn(4, OUT, 1).abs()})
    with pytest.raises(AlgebraError, match="row of zeros"):
        anchored_delta(vector, MODULE, base, 1.0, "comfy")
    assert anchored_delta(vector, MODULE, base, 1.0, "peft").dense().isfinite().all()


def rotations(blocks: np.ndarray, limit: float) -> np.ndarray:
    skew = blocks - np.swapaxes(blocks, -1, -2)
    norm = np.linalg.norm(skew) + 1e-8
    skew = skew * (limit / norm if 0 < limit < norm else 1)
    identity = np.eye(skew.shape[-1])
    return (identity + skew) @ np.linalg.inv(identity - skew)


@pytest.mark.parametrize("constraint", [0.0, 0.3])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_comfyui_multiplies_the_strength_of_oft_in_twice(strength: float, constraint: float, opened: Callable) -> None:
    """Its limit is the constraint itself, where LyCORIS has it times the outputs; it leaves rescale unused."""
    pieces = {"oft_blocks": drawn(6, 5, 2, 2), "alpha": torch.tensor(constraint), "rescale": drawn(7, OUT, 1)}
    R = rotations(exact(pieces["oft_blocks"]), float(torch.tensor(constraint)))
    rows = exact(BASE).reshape(5, 2, IN)
    expected = strength**2 * np.einsum("knm,knj->kmj", R - np.eye(2), rows).reshape(OUT, IN)
    found = anchored_delta(opened(pieces), MODULE, BASE, strength, "comfy").dense()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_comfyui_multiplies_the_strength_of_boft_in_once_more_than_lycoris(opened: Callable) -> None:
    vector = opened({"oft_blocks": drawn(6, 1, 5, 2, 2), "alpha": torch.tensor(0.0), "rescale": drawn(7, OUT, 1)})
    comfy, lycoris = (anchored_delta(vector, MODULE, BASE, 0.6, name).dense() for name in ("comfy", "lycoris"))
    torch.testing.assert_close(comfy, 0.6 * lycoris, rtol=0, atol=1e-14)


def test_glora_in_both_orders_is_one_change(opened: Callable) -> None:
    a = drawn(1, IN, 2), drawn(2, 2, IN)
    b = drawn(3, OUT, 2), drawn(4, 2, IN)
    new = {"a1.weight": a[0], "a2.weight": a[1], "b1.weight": b[0], "b2.weight": b[1], "alpha": torch.tensor(3.0)}
    old = {"a1.weight": a[1], "a2.weight": a[0], "b1.weight": b[1], "b2.weight": b[0], "alpha": torch.tensor(3.0)}
    expected = 0.8 * 1.5 * (exact(BASE) @ exact(a[0]) @ exact(a[1]) + exact(b[0]) @ exact(b[1]))
    for pieces, dialect in ((new, "comfy"), (new, "lycoris"), (old, "comfy")):
        found = anchored_delta(opened(pieces), MODULE, BASE, 0.8, dialect).dense()
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    with pytest.raises(DialectRefused, match=r"no longer reads its first version's order\. Write dialect=comfy"):
        anchored_delta(opened(old), MODULE, BASE, 0.8, "lycoris")


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_a_weight_that_is_set_is_set_at_any_strength(strength: float, opened: Callable) -> None:
    new = drawn(8, OUT, IN)
    found = anchored_delta(opened({"set_weight": new}), MODULE, BASE, strength, "comfy").dense()
    np.testing.assert_allclose(found.numpy(), exact(new) - exact(BASE), rtol=0, atol=0)


LOHA = {f"hada_w{i}_{s}": drawn(i, OUT, 2) if s == "a" else drawn(i, 2, IN) for i in (1, 2) for s in "ab"}


@pytest.mark.parametrize(
    ("pieces", "dialect", "reason"),
    [
        ({"set_weight": BASE}, "peft", "PEFT does not read set_weight. Write dialect=comfy"),
        ({"oft_blocks": drawn(1, 5, 2, 2)}, "peft", "PEFT does not read oft_blocks. Write dialect=lycoris or comfy"),
        ({"oft_blocks": drawn(1, 1, 5, 2, 2)}, "comfy", "ComfyUI fails without an alpha. Write dialect=lycoris"),
        ({"weight": drawn(1, IN), "on_input": torch.tensor(1)}, "comfy", "ComfyUI does not read IA3 with on_input"),
        ({**LOHA, "dora_scale": drawn(4, OUT, 1)}, "peft", "DoRA on plain low-rank pairs alone"),
        ({**PAIR, "dora_scale": drawn(4, 1, IN)}, "peft", "PEFT's magnitudes belong to outputs, these to inputs"),
        ({**PAIR, "dora_scale": drawn(4, OUT)}, "comfy", "spreads magnitudes of one axis over the wrong one"),
        ({"oft_r": drawn(1, 1, 5, 5)}, "peft", "PEFT reads what it wrote before version 0.14 no longer"),
    ],
)
def test_a_dialect_that_does_not_know_a_form_says_so(
    pieces: dict[str, Tensor], dialect: str, reason: str, opened: Callable
) -> None:
    with pytest.raises(DialectRefused, match=reason):
        anchored_delta(opened(pieces), MODULE, BASE, 1.0, dialect)


def test_pefts_oft_needs_its_configuration(opened: Callable) -> None:
    with pytest.raises(DialectRefused, match=r"adapter_config\.json says how PEFT turns"):
        anchored_delta(opened({"oft_R.weight": drawn(1, 1, 21)}), MODULE, BASE, 1.0, "peft")


def test_a_base_of_another_shape_is_refused(opened: Callable) -> None:
    with pytest.raises(ShapeMismatch, match=r"the base's weight is \[10, 6\]"):
        anchored_delta(opened({"set_weight": BASE}), MODULE, BASE[:, :6], 1.0, "comfy")


def test_a_convolution_has_a_norm_for_each_channel(opened: Callable) -> None:
    pieces = {"lora_up.weight": drawn(1, 10, 2, 1, 1), "lora_down.weight": drawn(2, 2, 10, 3, 3)}
    base, by_input = drawn(3, 10, 10, 3, 3), drawn(4, 1, 10, 1, 1).abs()
    vector = opened({**pieces, "dora_scale": by_input}, CONV_STEM)
    adapted = exact(base) + np.tensordot(
        exact(pieces["lora_up.weight"])[:, :, 0, 0], exact(pieces["lora_down.weight"]), 1
    )
    norms = np.sqrt((adapted**2).sum(axis=(0, 2, 3), keepdims=True))
    expected = (adapted * exact(by_input) / norms - exact(base)).reshape(10, -1)
    found = anchored_delta(vector, CONV, base, 1.0, "lycoris").dense()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


class Base:
    """A base of drawn weights."""

    def __init__(self, content: Hashable = "base") -> None:
        self.content = content

    def weight(self, module: str) -> Tensor:
        return {MODULE: BASE}[module]


@pytest.fixture
def mixed(table: Architecture, tmp_path: Path) -> Vector:
    """A DoRA on one module, a plain pair, a LoHa and a bias on others."""
    tensors = {f"{STEM}.{end}": one for end, one in {**PAIR, "dora_scale": drawn(4, OUT, 1).abs()}.items()}
    other = STEM.replace("attn2_to_k", "attn1_to_q")
    tensors |= {f"{other}.lora_up.weight": drawn(1, 10, 2), f"{other}.lora_down.weight": drawn(2, 2, 10)}
    third = STEM.replace("attn2_to_k", "attn1_to_out_0")
    tensors |= {
        f"{third}.hada_w{i}_{s}": drawn(i, 10, 2) if s == "a" else drawn(i, 2, 10) for i in (1, 2) for s in "ab"
    }
    save_file(tensors | {f"{CONV_STEM}.diff_b": drawn(5, 10)}, tmp_path / "mixed")
    return open_vector(tmp_path / "mixed", table)


def test_on_a_base_every_module_has_its_delta(mixed: Vector) -> None:
    source = OnBase(0.6, mixed, "lycoris", Base())
    assert source.name == "on_base(0.6*mixed; dialect=lycoris)"
    assert source.modules == mixed.modules
    assert source.parts == ((0.6, mixed),)
    assert torch.equal(source.delta(MODULE).dense(), anchored_delta(mixed, MODULE, BASE, 0.6, "lycoris").dense())
    for module in mixed.modules.keys() - {MODULE}:
        delta = source.delta(module)
        torch.testing.assert_close(delta.dense(), 0.6 * mixed.delta(module).dense(), rtol=0, atol=1e-15)
        assert delta.rank == mixed.modules[module].rank


def test_the_content_is_of_the_vector_its_strength_dialect_and_base(mixed: Vector) -> None:
    contents = {
        OnBase(strength, mixed, dialect, Base(base)).content
        for strength in (0.5, 1.0)
        for dialect in ("peft", "comfy")
        for base in ("one", "other")
    }
    assert len(contents) == 8


def test_a_source_that_could_not_be_computed_is_not_made(opened: Callable) -> None:
    with pytest.raises(DialectRefused, match="PEFT does not read set_weight"):
        OnBase(1.0, opened({"set_weight": BASE}), "peft", Base())


def test_the_configuration_of_a_rotation_is_part_of_the_content(table: Architecture, tmp_path: Path) -> None:
    stem = "base_model.model." + MODULE.removeprefix("unet.")
    save_file({f"{stem}.oft_R.weight": drawn(1, 1, 21)}, tmp_path / "adapter_model.safetensors")
    contents = set()
    for config in ({"peft_type": "OFT"}, {"peft_type": "OFT", "use_cayley_neumann": True}):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        contents.add(open_vector(tmp_path, table).content)
    assert len(contents) == 2
