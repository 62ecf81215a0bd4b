import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import ShapeMismatch, diffusers_state_dict, open_vector
from arithmetic.deltas import LowRank, fitted
from formats import Architecture, FolderError, FormatError, HeaderError, Layout, ModuleSpec


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT])
def test_every_layout_reads_as_the_same_deltas(
    layout: Layout, draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    drawn = draft(0)
    vector = open_vector(save(drawn, tmp_path / "v", layout), table)
    assert vector.layout is layout
    assert vector.unmatched == ()
    for module, expected in drawn.deltas().items():
        up, down = vector.factors(module).matrices()
        np.testing.assert_allclose((up @ down).numpy(), expected, rtol=0, atol=1e-8)


def test_a_rank_stabilised_folder_scales_by_the_root_of_the_rank(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    folder = save(draft(0, ranks=(4,), alphas=(6.0,)), tmp_path / "v", Layout.PEFT)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    scales = {entry.scale for entry in open_vector(folder, table).modules.values()}
    assert scales == {3.0}


def test_a_linear_layer_stored_as_convolution_is_the_same_map(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    path = save(draft(0), tmp_path / "v")
    tensors = load_file(path)
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    before = open_vector(path, table).factors(module)
    for end in ("lora_up", "lora_down"):
        tensors[f"{stem}.{end}.weight"] = tensors[f"{stem}.{end}.weight"][..., None, None].clone()
    save_file(tensors, tmp_path / "conv")
    after = open_vector(tmp_path / "conv", table).factors(module)
    assert torch.equal(before.up, after.up)
    assert torch.equal(before.down, after.down)


def test_the_runtime_tensors_need_no_alpha(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    drawn = draft(1)
    state = diffusers_state_dict(open_vector(save(drawn, tmp_path / "v"), table))
    assert len(state) == 2 * len(drawn.factors)
    for module, expected in drawn.deltas().items():
        up, down = (state[f"{module}.{end}.weight"].double().flatten(1) for end in ("lora_B", "lora_A"))
        np.testing.assert_allclose((up @ down).numpy(), expected, rtol=0, atol=1e-8)


def test_factors_of_another_size_are_refused() -> None:
    factors = LowRank(torch.zeros(4, 2), torch.zeros(2, 5), 1.0)
    with pytest.raises(
        ShapeMismatch, match=r"style: up \[4, 2\] and down \[2, 5\] do not fit a module of shape \[4, 6\]"
    ):
        fitted(factors, ModuleSpec("linear", (4, 6)), "style")


def test_a_truncated_file_is_refused(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> None:
    path = save(draft(0), tmp_path / "v")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HeaderError, match="truncated"):
        open_vector(path, table)


def test_a_file_that_is_no_adapter_is_refused(table: Architecture, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "v")
    with pytest.raises(FormatError, match="no adapter"):
        open_vector(tmp_path / "v", table)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_peft_folder_without_its_configuration_is_refused(
    text: str | None, draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    folder = save(draft(0), tmp_path / "v", Layout.PEFT)
    (folder / "adapter_config.json").unlink()
    if text is not None:
        (folder / "adapter_config.json").write_text(text)
    with pytest.raises(FolderError, match="adapter_config"):
        open_vector(folder, table)
