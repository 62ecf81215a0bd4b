"""A vector in another layout, from a path or the registry: nothing of it changes but its keys."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import NotConvertible, OutputConflict
from registry import Registry
from workbench.errors import NoRegistry, NotAVector, UnsupportedLayout
from workbench.sums.converting import convert

LAYOUTS = ("kohya", "kohya-sgm", "diffusers", "comfy", "peft")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("by_path", [True, False])
def test_every_layout_gives_the_same_vector_and_leads_back_to_the_same_bits(
    layout: str, by_path: bool, stocked: Registry, vector_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / ("folder" if layout == "peft" else "out.safetensors")
    converted = convert(stocked, str(vector_file) if by_path else "soft", out, layout=layout)
    assert (converted.layout_before, converted.layout, converted.modules) == ("kohya", layout, 3)
    assert converted.path == out
    back = convert(stocked, str(out), tmp_path / "back.safetensors")
    assert back.layout_hash == converted.layout_hash
    before, after = load_file(vector_file), load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    assert all(key in before or key.endswith(".alpha") for key in after)
    assert not list(tmp_path.glob("*.part"))


def test_alphas_are_kept_and_said(stocked: Registry, vector_file: Path, tmp_path: Path) -> None:
    tensors = load_file(vector_file)
    stem = "lora_unet_mid_block_attentions_0_to_q"
    save_file(tensors | {f"{stem}.alpha": torch.tensor(0.75)}, tmp_path / "scaled.safetensors")
    convert(stocked, str(tmp_path / "scaled.safetensors"), tmp_path / "folder", layout="peft")
    convert(stocked, str(tmp_path / "folder"), tmp_path / "back.safetensors", layout="kohya")
    assert load_file(tmp_path / "back.safetensors")[f"{stem}.alpha"] == 0.75


def test_what_a_layout_cannot_hold_is_refused_and_nothing_is_left(
    stocked: Registry, vector_file: Path, tmp_path: Path
) -> None:
    stem = "lora_unet_mid_block_attentions_0_to_q"
    tensors = {
        f"{stem}.hada_{side}_{end}": torch.ones(8, 2).T if end == "b" else torch.ones(8, 2)
        for side in ("w1", "w2")
        for end in "ab"
    }
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, tmp_path / "hada.safetensors")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NotConvertible, match="no reader of diffusers knows loha"):
        convert(stocked, str(tmp_path / "hada.safetensors"), tmp_path / "out.safetensors", layout="diffusers")
    with pytest.raises(UnsupportedLayout):
        convert(stocked, "soft", tmp_path / "out.safetensors", layout="onnx")
    assert sorted(tmp_path.iterdir()) == before
    assert convert(stocked, str(tmp_path / "hada.safetensors"), tmp_path / "out", layout="comfy").kinds == ("loha",)


def test_no_folder_is_replaced_and_no_input(stocked: Registry, vector_file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for out, layout in ((tmp_path / "taken", "kohya"), (tmp_path / "taken", "peft"), (vector_file, "comfy")):
        with pytest.raises(OutputConflict):
            convert(stocked, str(vector_file), out, layout=layout)
    (tmp_path / "file").write_bytes(b"earlier")
    convert(stocked, str(vector_file), tmp_path / "file", layout="comfy")
    assert (tmp_path / "file").stat().st_size > 100


def test_a_path_needs_no_registry(lora_of_sd15: Path, tmp_path: Path) -> None:
    assert convert(None, str(lora_of_sd15), tmp_path / "out", layout="peft").layout == "peft"
    with pytest.raises(NoRegistry):
        convert(None, "soft", tmp_path / "again")


def test_a_vector_of_an_unknown_base_is_refused(vector_file: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAVector, match="import its base first"):
        convert(None, str(vector_file), tmp_path / "out")


@pytest.fixture
def lora_of_sd15(tmp_path: Path) -> Path:
    """Two modules of Stable Diffusion 1.5, whose table is shipped."""
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_"
    tensors = {}
    for end in ("q", "k"):
        tensors[f"{stem}{end}.lora_down.weight"] = torch.randn(2, 320)
        tensors[f"{stem}{end}.lora_up.weight"] = torch.randn(320, 2)
        tensors[f"{stem}{end}.alpha"] = torch.tensor(1.0)
    save_file(tensors, tmp_path / "sd15.safetensors")
    return tmp_path / "sd15.safetensors"
