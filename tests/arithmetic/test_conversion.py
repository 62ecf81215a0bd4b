"""Respelling: another layout, the same numbers to the last bit, and one hash that says so."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from arithmetic import NotConvertible, convert, open_vector
from arithmetic.errors import AlgebraError
from formats import Architecture, Layout, ModuleSpec, layout_hash

LAYOUTS = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT)
PLAIN = {"format": "pt"}


@pytest.fixture
def written(draft: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> Callable[[Layout], Path]:
    """written(layout) -> a vector of mixed ranks and alphas in that layout, as another tool would write it."""

    def write(layout: Layout) -> Path:
        name = "source" if layout is Layout.PEFT else "source.safetensors"
        return save(draft(1), tmp_path / name, layout)

    return write


@pytest.mark.parametrize(("before", "after"), list(itertools.product(LAYOUTS, LAYOUTS)))
def test_every_layout_becomes_every_other_with_the_same_identity(
    before: Layout, after: Layout, written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    source = written(before)
    vector = open_vector(source, table)
    out = convert(vector, tmp_path / "out", after, PLAIN)
    again = open_vector(out, table)
    assert again.layout is after
    assert layout_hash(out, table) == layout_hash(source, table)
    for module, entry in vector.modules.items():
        one, other = vector.factors(module), again.factors(module)
        assert torch.equal(one.up, other.up)
        assert torch.equal(one.down, other.down)
        assert other.scale == pytest.approx(entry.scale, rel=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_delta_that_another_reader_finds_is_the_same(
    layout: Layout,
    draft: Callable[..., Any],
    save: Callable[..., Path],
    read_deltas: Callable[[Path], dict[str, np.ndarray]],
    table: Architecture,
    tmp_path: Path,
) -> None:
    drawn = draft(2, alphas=(4.0,), ranks=(4,))
    source = save(drawn, tmp_path / "source.safetensors")
    out = convert(open_vector(source, table), tmp_path / "out", layout, PLAIN)
    for module, delta in read_deltas(out).items():
        np.testing.assert_allclose(delta, drawn.deltas()[module], rtol=1e-6, atol=1e-9)


def test_a_conversion_there_and_back_gives_the_same_bytes(
    written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    one = convert(open_vector(written(Layout.KOHYA), table), tmp_path / "one", Layout.KOHYA, PLAIN)
    there = convert(open_vector(one, table), tmp_path / "there", Layout.PEFT, PLAIN)
    back = convert(open_vector(there, table), tmp_path / "back", Layout.KOHYA, PLAIN)
    assert back.read_bytes() == one.read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_stay_and_every_tensor_is_aligned(dtype: torch.dtype, table: Architecture, tmp_path: Path) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{stem}.lora_up.weight": torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).to(dtype),
        f"{stem}.lora_down.weight": torch.randn(3, 10, generator=torch.Generator().manual_seed(1)),
        f"{stem}.alpha": torch.tensor(0.3, dtype=dtype),
    }
    save_file(tensors, tmp_path / "mixed.safetensors")
    vector = open_vector(tmp_path / "mixed.safetensors", table)
    kohya = convert(vector, tmp_path / "kohya.safetensors", Layout.KOHYA, PLAIN)
    assert {key: tensor.dtype for key, tensor in load_file(kohya).items()} == {k: t.dtype for k, t in tensors.items()}
    header = json.loads(kohya.read_bytes()[8 : 8 + int.from_bytes(kohya.read_bytes()[:8], "little")])
    for key, entry in header.items():
        if key != "__metadata__":
            assert entry["data_offsets"][0] % {"F32": 4}.get(entry["dtype"], 2) == 0
    peft = convert(vector, tmp_path / "peft", Layout.PEFT, PLAIN)
    assert json.loads((peft / "adapter_config.json").read_text())["lora_alpha"] == 0.3
    assert layout_hash(peft, table) == layout_hash(kohya, table) == layout_hash(vector.path, table)


def test_metadata_is_written_as_given(written: Callable[[Layout], Path], table: Architecture, tmp_path: Path) -> None:
    out = convert(open_vector(written(Layout.PEFT), table), tmp_path / "out", Layout.DIFFUSERS, {"title": "ä"})
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"title", "lora_adapter_metadata"}
    assert metadata["title"] == "ä"


def test_keys_that_are_no_factors_are_refused_by_name(
    written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    source = written(Layout.KOHYA)
    save_file(load_file(source) | {"bundle_emb.word": torch.zeros(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(NotConvertible, match=r"bundle_emb\.word"):
        convert(open_vector(tmp_path / "odd.safetensors", table), tmp_path / "out", Layout.PEFT, PLAIN)
    assert not (tmp_path / "out").exists()


def test_a_dtype_that_is_not_written_is_refused(
    written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    doubled = {key: tensor.double() for key, tensor in load_file(written(Layout.KOHYA)).items()}
    save_file(doubled, tmp_path / "double.safetensors")
    with pytest.raises(NotConvertible, match="F64"):
        convert(open_vector(tmp_path / "double.safetensors", table), tmp_path / "out", Layout.KOHYA, PLAIN)


def test_a_layout_that_is_only_read_is_refused(
    written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    with pytest.raises(AlgebraError, match="is read, not written"):
        convert(open_vector(written(Layout.KOHYA), table), tmp_path / "out", Layout.DIFFUSERS_OLD, PLAIN)


def test_alphas_of_two_text_encoders_that_peft_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    layer = "text_model.encoder.layers.0.mlp.fc1"
    table = Architecture(
        "two", {f"{c}.{layer}": ModuleSpec("linear", (6, 5)) for c in ("text_encoder", "text_encoder_2")}
    )
    tensors = {}
    for prefix, alpha in (("lora_te1", 1.0), ("lora_te2", 2.0)):
        stem = f"{prefix}_{layer.replace('.', '_')}"
        tensors |= {
            f"{stem}.lora_up.weight": torch.ones(6, 2),
            f"{stem}.lora_down.weight": torch.ones(2, 5),
            f"{stem}.alpha": torch.tensor(alpha),
        }
    save_file(tensors, tmp_path / "two.safetensors")
    vector = open_vector(tmp_path / "two.safetensors", table)
    with pytest.raises(NotConvertible, match="cannot tell apart"):
        convert(vector, tmp_path / "out", Layout.PEFT, PLAIN)
    kept = convert(vector, tmp_path / "kept.safetensors", Layout.DIFFUSERS, PLAIN)
    assert layout_hash(kept, table) == layout_hash(vector.path, table)
