import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import AlgebraError, NeedsBase, ShapeMismatch, diffusers_state_dict, open_vector
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


STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


LOHA = {f"{STEM}.hada_w{i}_{s}": (10, 2) if s == "a" else (2, 10) for i in (1, 2) for s in "ab"}
LOKR = {f"{STEM}.lokr_w1": (2, 2), f"{STEM}.lokr_w2_a": (5, 1), f"{STEM}.lokr_w2_b": (1, 5)}


def test_a_file_without_a_low_rank_pair_opens(table: Architecture, tmp_path: Path) -> None:
    tensors = drawn(LOHA) | {f"{STEM}.alpha": torch.tensor(3.0)}
    save_file(tensors, tmp_path / "loha")
    vector = open_vector(tmp_path / "loha", table)
    entry = vector.modules[TO_Q]
    assert (entry.kind, entry.rank, entry.dim, entry.alpha, entry.scale) == ("loha", 4, 2, 3.0, 1.5)
    one, other = (tensors[f"{STEM}.hada_w{i}_a"].double() @ tensors[f"{STEM}.hada_w{i}_b"].double() for i in (1, 2))
    torch.testing.assert_close(vector.factors(TO_Q).dense(), 1.5 * one * other)


def test_a_full_difference_is_a_matrix_and_has_no_factors(table: Architecture, tmp_path: Path) -> None:
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors = drawn({f"{conv}.diff": (10, 10, 3, 3), f"{conv}.diff_b": (10,)})
    save_file(tensors, tmp_path / "full")
    vector = open_vector(tmp_path / "full", table)
    module = "unet.down_blocks.0.resnets.0.conv1"
    assert list(vector.modules) == [module, f"{module}.bias"]
    assert torch.equal(vector.delta(module).dense(), tensors[f"{conv}.diff"].double().flatten(1))
    assert torch.equal(vector.delta(f"{module}.bias").dense(), tensors[f"{conv}.diff_b"].double()[:, None])
    with pytest.raises(AlgebraError, match="full has no low-rank form smaller than its 10x10x3x3 matrix"):
        vector.factors(module)


def test_a_loha_that_fills_its_matrix_is_a_matrix(table: Architecture, tmp_path: Path) -> None:
    full = {f"{STEM}.hada_w{i}_{s}": (10, 4) if s == "a" else (4, 10) for i in (1, 2) for s in "ab"}
    save_file(drawn(full), tmp_path / "loha")
    vector = open_vector(tmp_path / "loha", table)
    assert vector.modules[TO_Q].rank is None
    assert vector.delta(TO_Q).low_rank() is None


@pytest.mark.parametrize("whole", [True, False])
def test_the_alpha_of_a_lokr_counts_unless_both_factors_are_whole(
    whole: bool, table: Architecture, tmp_path: Path
) -> None:
    shapes = {f"{STEM}.lokr_w1": (2, 2), f"{STEM}.lokr_w2": (5, 5)} if whole else LOKR
    save_file(drawn(shapes) | {f"{STEM}.alpha": torch.tensor(0.25)}, tmp_path / "lokr")
    entry = open_vector(tmp_path / "lokr", table).modules[TO_Q]
    assert entry.scale == (1.0 if whole else 0.25)
    assert entry.alpha == (None if whole else 0.25)


def test_the_rank_of_an_entry_is_that_of_its_delta(table: Architecture, tmp_path: Path) -> None:
    files = {
        "loha": LOHA,
        "lokr": LOKR,
        "whole": {f"{STEM}.lokr_w1": (2, 2), f"{STEM}.lokr_w2": (5, 5)},
        "pair": {f"{STEM}.lora_up.weight": (10, 3), f"{STEM}.lora_down.weight": (3, 10)},
        "diff": {f"{STEM}.diff": (10, 10)},
    }
    for name, shapes in files.items():
        save_file(drawn(shapes), tmp_path / name)
        vector = open_vector(tmp_path / name, table)
        assert vector.modules[TO_Q].rank == vector.delta(TO_Q).rank


def test_a_trained_scalar_is_multiplied_in(table: Architecture, tmp_path: Path) -> None:
    save_file(
        drawn(LOKR) | {f"{STEM}.alpha": torch.tensor(2.0), f"{STEM}.scalar": torch.tensor(0.5)}, tmp_path / "lokr"
    )
    assert open_vector(tmp_path / "lokr", table).modules[TO_Q].scale == 1.0


def test_an_alpha_of_zero_stays_visible(table: Architecture, tmp_path: Path) -> None:
    save_file(drawn(LOHA) | {f"{STEM}.alpha": torch.tensor(0.0)}, tmp_path / "loha")
    assert open_vector(tmp_path / "loha", table).modules[TO_Q].alpha == 0.0


def test_what_depends_on_the_base_says_how_to_ask(table: Architecture, tmp_path: Path) -> None:
    save_file(drawn({f"{STEM}.oft_blocks": (5, 2, 2)}), tmp_path / "turned")
    vector = open_vector(tmp_path / "turned", table)
    assert list(vector.anchored) == [TO_Q]
    assert vector.modules[TO_Q].rank is None
    with pytest.raises(
        NeedsBase, match=rf"turned: {TO_Q}: the change of oft .* on_base\(turned; dialect=peft\|lycoris"
    ):
        vector.delta(TO_Q)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bits_are_widened_without_loss(dtype: torch.dtype, table: Architecture, tmp_path: Path) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in drawn(LOHA).items()}
    save_file(tensors, tmp_path / "loha")
    narrow = open_vector(tmp_path / "loha", table).delta(TO_Q).dense()
    one, other = (tensors[f"{STEM}.hada_w{i}_a"].double() @ tensors[f"{STEM}.hada_w{i}_b"].double() for i in (1, 2))
    torch.testing.assert_close(narrow, one * other)


def test_integers_are_refused_by_name(table: Architecture, tmp_path: Path) -> None:
    pair = {
        f"{STEM}.lora_up.weight": torch.ones(10, 3),
        f"{STEM}.lora_down.weight": torch.ones(3, 10, dtype=torch.int8),
    }
    save_file(pair, tmp_path / "quantised")
    with pytest.raises(AlgebraError, match=r"lora_down\.weight is I8, expected one of BF16, F16"):
        open_vector(tmp_path / "quantised", table).delta(TO_Q)


@pytest.mark.parametrize("padded", [(10, 10), (10, 12)])
def test_a_padded_base_is_only_taken_where_it_is_the_base(
    padded: tuple[int, int], table: Architecture, tmp_path: Path
) -> None:
    pair = drawn({f"{STEM}.lora_up.weight": (10, 3), f"{STEM}.lora_down.weight": (3, 10)})
    save_file(pair | {f"{STEM}.reshape_weight": torch.tensor(padded)}, tmp_path / "padded")
    vector = open_vector(tmp_path / "padded", table)
    if padded == (10, 10):
        assert vector.delta(TO_Q).rank == 3
    else:
        with pytest.raises(ShapeMismatch, match=r"pads the base's weight to \[10, 12\]"):
            vector.delta(TO_Q)


def test_threads_read_the_same_bits(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> None:
    save_file(load_file(save(draft(0, modules=("unet.conv_in",)), tmp_path / "v")) | drawn(LOHA), tmp_path / "both")
    vector = open_vector(tmp_path / "both", table)
    alone = {module: open_vector(tmp_path / "both", table).delta(module).dense() for module in vector.modules}
    with ThreadPoolExecutor(8) as pool:
        asked = list(vector.modules) * 100
        for module, found in zip(asked, pool.map(lambda name: vector.delta(name).dense(), asked), strict=True):
            assert torch.equal(found, alone[module])


def test_another_process_can_be_given_a_vector_that_was_read(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    vector = open_vector(save(draft(seed=1), tmp_path / "a.safetensors"), table)
    module = next(iter(vector.modules))
    read = vector.delta(module).dense()
    given = pickle.loads(pickle.dumps(vector))
    assert torch.equal(given.delta(module).dense(), read)
    assert given.content == vector.content


def test_a_configuration_is_part_of_the_content(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    folder = save(draft(0), tmp_path / "v", Layout.PEFT)
    before = open_vector(folder, table).content
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    assert open_vector(folder, table).content != before
