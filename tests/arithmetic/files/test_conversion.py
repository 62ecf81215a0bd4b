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

from arithmetic import NotConvertible, anchored_delta, convert, open_vector
from arithmetic.errors import AlgebraError
from formats import Architecture, Layout, ModuleSpec, layout_hash

LAYOUTS = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT)
WRITTEN = (*LAYOUTS, Layout.KOHYA_SGM, Layout.COMFY)
PLAIN = {"format": "pt"}


@pytest.fixture
def written(draft: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> Callable[[Layout], Path]:
    """written(layout) -> a vector of mixed ranks and alphas in that layout, as another tool would write it."""

    def write(layout: Layout) -> Path:
        name = "source" if layout is Layout.PEFT else "source.safetensors"
        return save(draft(1), tmp_path / name, layout)

    return write


@pytest.mark.parametrize(("before", "after"), list(itertools.product(WRITTEN, WRITTEN)))
def test_every_layout_becomes_every_other_with_the_same_identity(
    before: Layout, after: Layout, written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    source = written(before if before in LAYOUTS else Layout.KOHYA)
    if before not in LAYOUTS:
        source = convert(open_vector(source, table), tmp_path / "original", before, PLAIN)
    vector = open_vector(source, table)
    assert vector.layout is before
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


@pytest.mark.parametrize("layout", [Layout.PEFT, Layout.DIFFUSERS, Layout.KOHYA_SGM, Layout.COMFY])
def test_a_conversion_there_and_back_gives_the_same_bytes(
    layout: Layout, written: Callable[[Layout], Path], table: Architecture, tmp_path: Path
) -> None:
    one = convert(open_vector(written(Layout.KOHYA), table), tmp_path / "one", Layout.KOHYA, PLAIN)
    there = convert(open_vector(one, table), tmp_path / "there", layout, PLAIN)
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


STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
PAIR = {f"{STEM}.lora_up.weight": (10, 3), f"{STEM}.lora_down.weight": (3, 10)}
KINDS: dict[str, dict[str, tuple[int, ...]]] = {
    "loha": {f"{STEM}.hada_w{i}_{s}": (10, 2) if s == "a" else (2, 10) for i in (1, 2) for s in "ab"},
    "loha-tucker": {
        **{f"{CONV}.hada_w{i}_{s}": (2, 10) for i in (1, 2) for s in "ab"},
        **{f"{CONV}.hada_t{i}": (2, 2, 3, 3) for i in (1, 2)},
    },
    "lokr": {f"{STEM}.lokr_w1": (2, 2), f"{STEM}.lokr_w2_a": (5, 1), f"{STEM}.lokr_w2_b": (1, 5)},
    "lokr-whole": {f"{STEM}.lokr_w1": (2, 2), f"{STEM}.lokr_w2": (5, 5)},
    "tucker": {
        f"{CONV}.lora_up.weight": (10, 2, 1, 1),
        f"{CONV}.lora_mid.weight": (2, 2, 3, 3),
        f"{CONV}.lora_down.weight": (2, 10, 1, 1),
    },
    "dora": {**PAIR, f"{STEM}.dora_scale": (10, 1)},
    "dora-inputs": {**PAIR, f"{STEM}.dora_scale": (1, 10)},
    "glora": {f"{STEM}.{half}{side}.weight": (10, 2) if side == 1 else (2, 10) for half in "ab" for side in (1, 2)},
    "oft": {f"{STEM}.oft_blocks": (5, 2, 2), f"{STEM}.rescale": (10, 1)},
    "boft": {f"{STEM}.oft_blocks": (2, 5, 2, 2)},
    "full": {f"{STEM}.diff": (10, 10), f"{STEM}.diff_b": (10,)},
    "norm": {"lora_unet_down_blocks_0_resnets_0_norm1.w_norm": (10,), f"{CONV}.diff_b": (10,)},
    "set": {f"{STEM}.set_weight": (10, 10)},
}
ORIGINAL = (Layout.KOHYA, Layout.KOHYA_SGM, Layout.COMFY)


@pytest.fixture
def kind_file(tmp_path: Path) -> Callable[[str], Path]:
    """kind_file(kind) -> a kohya file of that kind, half precision, with an alpha where the kind has one."""

    def write(kind: str) -> Path:
        generator = torch.Generator().manual_seed(3)
        tensors = {key: torch.randn(shape, generator=generator).half() for key, shape in KINDS[kind].items()}
        if kind not in ("full", "norm", "set"):
            tensors[f"{next(iter(tensors)).partition('.')[0]}.alpha"] = torch.tensor(1.5)
        save_file(tensors, tmp_path / f"{kind}.safetensors")
        return tmp_path / f"{kind}.safetensors"

    return write


@pytest.mark.parametrize("layout", ORIGINAL)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_keeps_its_pieces_where_the_readers_know_them(
    kind: str, layout: Layout, kind_file: Callable[[str], Path], table: Architecture, tmp_path: Path
) -> None:
    vector = open_vector(kind_file(kind), table)
    there = convert(vector, tmp_path / "there", layout, PLAIN)
    again = open_vector(there, table)
    assert (again.unmatched, again.misfits) == ((), ())
    assert layout_hash(there, table) == layout_hash(vector.path, table) is not None
    assert again.modules.keys() == vector.modules.keys()
    for module, entry in vector.modules.items():
        assert again.modules[module].keys.keys() == entry.keys.keys()
        assert again.modules[module].scale == entry.scale
        for role, key in entry.keys.items():
            assert torch.equal(again.stored(again.modules[module].keys[role]), vector.stored(key))


@pytest.mark.parametrize("layout", [Layout.DIFFUSERS, Layout.PEFT])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"dora"}))
def test_a_lora_config_holds_pairs_alone_and_says_so(
    kind: str, layout: Layout, kind_file: Callable[[str], Path], table: Architecture, tmp_path: Path
) -> None:
    with pytest.raises(NotConvertible, match=f"no reader of {layout} knows|magnitudes belong to outputs"):
        convert(open_vector(kind_file(kind), table), tmp_path / "out", layout, PLAIN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", [Layout.DIFFUSERS, Layout.PEFT])
def test_magnitudes_of_outputs_go_there_and_back(
    layout: Layout, kind_file: Callable[[str], Path], table: Architecture, tmp_path: Path
) -> None:
    vector = open_vector(kind_file("dora"), table)
    there = convert(vector, tmp_path / "there", layout, PLAIN)
    middle = open_vector(there, table)
    (entry,) = middle.modules.values()
    assert entry.keys["magnitude"].endswith("attn1.to_q.lora_magnitude_vector")
    assert middle.stored(entry.keys["magnitude"]).shape == (10,)
    back = convert(middle, tmp_path / "back", Layout.KOHYA, PLAIN)
    assert layout_hash(vector.path, table) == layout_hash(there, table) == layout_hash(back, table) is not None
    assert load_file(back).keys() == load_file(vector.path).keys()
    assert all(torch.equal(one, load_file(vector.path)[key]) for key, one in load_file(back).items())
    base = torch.randn(10, 10, generator=torch.Generator().manual_seed(5))
    changes = [anchored_delta(one, entry.module, base, 0.7, "peft").matrix for one in (vector, middle)]
    assert torch.equal(*changes)


def test_the_configuration_of_a_converted_dora_says_so(
    kind_file: Callable[[str], Path], table: Architecture, tmp_path: Path
) -> None:
    vector = open_vector(kind_file("dora"), table)
    folder = convert(vector, tmp_path / "peft", Layout.PEFT, PLAIN)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["use_dora"], config["r"], config["lora_alpha"]) == (True, 3, 1.5)
    diffusers = convert(vector, tmp_path / "diffusers", Layout.DIFFUSERS, PLAIN)
    with safe_open(diffusers, framework="pt") as file:
        assert json.loads(file.metadata()["lora_adapter_metadata"])["unet.use_dora"] is True


def test_a_vector_of_which_a_part_has_magnitudes_fits_no_lora_config(
    kind_file: Callable[[str], Path], table: Architecture, tmp_path: Path
) -> None:
    plain = {
        "lora_unet_conv_in.lora_up.weight": torch.ones(10, 1, 1, 1),
        "lora_unet_conv_in.lora_down.weight": torch.ones(1, 4, 3, 3),
    }
    save_file(load_file(kind_file("dora")) | plain, tmp_path / "mixed")
    with pytest.raises(NotConvertible, match="1 of 2 modules have DoRA magnitudes"):
        convert(open_vector(tmp_path / "mixed", table), tmp_path / "out", Layout.PEFT, PLAIN)


def test_the_alpha_of_a_loha_config_becomes_a_tensor(table: Architecture, tmp_path: Path) -> None:
    inner = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    pieces = {key.partition(".")[2]: shape for key, shape in KINDS["loha"].items()}
    (tmp_path / "peft").mkdir()
    tensors = {f"base_model.model.{inner}.{end}": torch.ones(shape) for end, shape in pieces.items()}
    save_file(tensors, tmp_path / "peft" / "adapter_model.safetensors")
    config = {"peft_type": "LOHA", "r": 2, "alpha": 3}
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps(config))
    vector = open_vector(tmp_path / "peft", table)
    kohya = convert(vector, tmp_path / "kohya", Layout.KOHYA, PLAIN)
    assert load_file(kohya)[f"{STEM}.alpha"] == 3
    assert layout_hash(kohya, table) == layout_hash(tmp_path / "peft", table) is not None


def test_a_whole_lokr_that_peft_scales_is_refused_by_readers_that_do_not(table: Architecture, tmp_path: Path) -> None:
    inner = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    (tmp_path / "peft").mkdir()
    tensors = {
        f"base_model.model.{inner}.lokr_w1": torch.ones(2, 2),
        f"base_model.model.{inner}.lokr_w2": torch.ones(5, 5),
    }
    save_file(tensors, tmp_path / "peft" / "adapter_model.safetensors")
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps({"peft_type": "LOKR", "r": 8, "alpha": 2}))
    vector = open_vector(tmp_path / "peft", table)
    assert {entry.scale for entry in vector.modules.values()} == {0.25}
    with pytest.raises(NotConvertible, match="scale a LoKr of whole factors by 1"):
        convert(vector, tmp_path / "out", Layout.KOHYA, PLAIN)


def test_comfyui_reads_no_ia3_and_kohyas_lycoris_does(table: Architecture, tmp_path: Path) -> None:
    tensors = {f"{STEM}.weight": torch.ones(10), f"{STEM}.on_input": torch.tensor(1)}
    save_file(tensors, tmp_path / "ia3")
    vector = open_vector(tmp_path / "ia3", table)
    with pytest.raises(NotConvertible, match="no reader of comfy knows ia3's on_input and ia3_l"):
        convert(vector, tmp_path / "out", Layout.COMFY, PLAIN)
    sgm = load_file(convert(vector, tmp_path / "sgm", Layout.KOHYA_SGM, PLAIN))
    assert {key.partition(".")[2]: tensor.dtype for key, tensor in sgm.items()} == {
        "weight": torch.float32,
        "on_input": torch.int64,
    }


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
