"""What a bake keeps gives the base back, bit for bit, whatever floats it holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from arithmetic.baking import bake, unbake
from arithmetic.baking.bits import from_digits, low_digits
from arithmetic.baking.residual import open_residual
from arithmetic.deltas import Delta, Dense, LowRank
from arithmetic.errors import AlgebraError, Cancelled, CertificateMismatch, NotRestored, OutputConflict
from arithmetic.resources import Resources
from arithmetic.weights import Weights, open_weights
from formats import Architecture, ModuleSpec, read_header

FLOATS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32}
MARGIN = 60
"""Units in the last place by which another machine's prediction may differ."""

TABLE = Architecture(
    "tiny",
    {
        "unet.conv_in": ModuleSpec("conv", (12, 4, 3, 3)),
        "unet.mid_block.attentions.0.proj_in": ModuleSpec("linear", (40, 30)),
        "text_encoder.text_model.encoder.layers.0.mlp.fc1": ModuleSpec("linear", (24, 6)),
        "text_encoder_2.text_projection": ModuleSpec("linear", (7, 5)),
    },
)


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(FLOATS[tensor.dtype])


@pytest.mark.parametrize("kept", [torch.int8, torch.int16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_16_bit_number_is_found_again_beside_any_prediction(dtype: torch.dtype, kept: torch.dtype) -> None:
    """Subnormals, both zeros, infinities and NaNs with their payloads among them."""
    exact = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for seed in range(4):
        guess = exact[torch.randperm(len(exact), generator=torch.Generator().manual_seed(seed))]
        near = (exact.int() + torch.randint(-MARGIN, MARGIN, exact.shape)).to(torch.int16)
        for prediction in (guess, near, exact, torch.zeros_like(exact)):
            digits = low_digits(exact.view(dtype), prediction.view(dtype), kept)
            assert torch.equal(from_digits(digits, prediction.view(dtype)).view(torch.int16), exact)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)), min_size=1))
def test_every_32_bit_number_is_found_again_beside_any_prediction(pairs: list[tuple[int, int]]) -> None:
    exact, guess = (torch.tensor(column, dtype=torch.int32).view(torch.float32) for column in zip(*pairs, strict=True))
    for kept in (torch.int8, torch.int16):
        assert torch.equal(
            from_digits(low_digits(exact, guess, kept), guess).view(torch.int32), exact.view(torch.int32)
        )


@given(st.floats(width=32, allow_nan=False), st.integers(-60, 60), st.integers(-3, 3))
def test_a_prediction_that_is_a_little_off_finds_the_same_number(value: float, off: int, more: int) -> None:
    exact = torch.tensor([value])
    guess = (exact.view(torch.int32) + off).view(torch.float32)
    digits = low_digits(exact, guess, torch.int8)
    elsewhere = (guess.view(torch.int32) + more).view(torch.float32)
    assert torch.equal(from_digits(digits, elsewhere).view(torch.int32), exact.view(torch.int32))


def test_what_lies_near_the_prediction_costs_one_byte() -> None:
    exact = torch.randn(10_000).half()
    digits = low_digits(exact, (exact.float() * (1 + 2**-11)).half(), torch.int8)
    assert digits.size == 10_000


@dataclass(frozen=True)
class Planted:
    """A sum whose deltas are known."""

    modules: Mapping[str, Delta]
    architecture: Architecture = TABLE
    name: str = "planted"
    content: str = field(default="planted", compare=False)

    def delta(self, module: str) -> Delta:
        return self.modules[module]


def source(size: float = 0.05) -> Planted:
    """A delta of each kind, one of them of a transposed module."""
    generator = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Planted(
        {
            "unet.conv_in": LowRank(randn(12, 2, 1, 1) * size, randn(2, 4, 3, 3), 0.5),
            "unet.conv_in.bias": Dense(randn(12, 1) * size),
            "unet.mid_block.attentions.0.proj_in": LowRank(randn(40, 3) * size, randn(3, 30).half(), 1.0),
            "text_encoder_2.text_projection": Dense(randn(7, 5).double() * size),
        }
    )


def awkward(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Ordinary weights with both zeros, subnormals and big values among them."""
    generator = torch.Generator().manual_seed(seed)
    values = (torch.randn(shape, generator=generator) * 0.05).to(dtype).flatten()
    info = torch.finfo(dtype)
    tiny = info.smallest_normal / 8
    odd = [0.0, -0.0, tiny, -tiny, info.tiny, 3e4, -6e4, 1.0]
    values[: len(odd)] = torch.tensor(odd, dtype=torch.float64).to(dtype)[: len(values)]
    return values.reshape(shape)


def base_file(path: Path, dtype: torch.dtype) -> Weights:
    """A checkpoint with a transposed projection and a tensor of no module."""
    stored = {
        "model.diffusion_model.input_blocks.0.0.weight": awkward((12, 4, 3, 3), dtype, 0),
        "model.diffusion_model.input_blocks.0.0.bias": awkward((12,), dtype, 1),
        "model.diffusion_model.middle_block.1.proj_in.weight": awkward((40, 30, 1, 1), dtype, 2),
        "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight": awkward((24, 6), dtype, 3),
        "conditioner.embedders.1.model.text_projection": awkward((5, 7), dtype, 4),
        "first_stage_model.x": torch.arange(5),
    }
    save_file(stored, path, {"über": "ja", "modelspec.hash_sha256": "0x00"})
    return open_weights(path, TABLE)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1e-4, 0.05, 3.0])
def test_a_single_file_is_restored_to_the_byte(size: float, dtype: torch.dtype, tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", dtype)
    bake([(1.0, base)], source(size), tmp_path / "baked", residual=tmp_path / "residual")
    unbake(open_weights(tmp_path / "baked", TABLE), source(size), tmp_path / "residual", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == (tmp_path / "base").read_bytes()
    assert (tmp_path / "baked").read_bytes() != (tmp_path / "base").read_bytes()


@pytest.mark.parametrize("asked", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_base_that_was_converted_is_restored_too(dtype: torch.dtype, asked: str, tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", dtype)
    small = source(1e-2)
    bake([(1.0, base)], small, tmp_path / "baked", residual=tmp_path / "residual", dtype=asked)
    unbake(open_weights(tmp_path / "baked", TABLE), small, tmp_path / "residual", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == (tmp_path / "base").read_bytes()


def folder_of(path: Path, dtype: torch.dtype) -> Path:
    """A folder of the diffusers layout with two shards and a file beside them."""
    (path / "unet").mkdir(parents=True)
    (path / "unet" / "config.json").write_text("{}")
    (path / "model_index.json").write_text("{ }")
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file({"conv_in.weight": awkward((12, 4, 3, 3), dtype, 0)}, path / "unet" / names[0], {"format": "pt"})
    second = {
        "conv_in.bias": awkward((12,), dtype, 1),
        "mid_block.attentions.0.proj_in.weight": awkward((40, 30), dtype, 2),
    }
    save_file(second, path / "unet" / names[1], {"format": "pt"})
    index = {"conv_in.weight": names[0], **dict.fromkeys(second, names[1])}
    text = f'{{"weight_map":  {str(index).replace(chr(39), chr(34))}}}'
    (path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(text)
    return path


@pytest.mark.parametrize("shard_bytes", [None, 1500, 10**9])
def test_a_folder_is_restored_to_the_byte_from_whatever_shards(shard_bytes: int | None, tmp_path: Path) -> None:
    base = open_weights(folder_of(tmp_path / "base", torch.float16), TABLE)
    of_unet = Planted({module: delta for module, delta in source().modules.items() if module.startswith("unet.")})
    bake([(1.0, base)], of_unet, tmp_path / "baked", residual=tmp_path / "residual", shard_bytes=shard_bytes)
    restored = unbake(open_weights(tmp_path / "baked", TABLE), of_unet, tmp_path / "residual", tmp_path / "restored")
    files = [path for path in (tmp_path / "base").rglob("*") if path.is_file()]
    for path in files:
        assert (tmp_path / "restored" / path.relative_to(tmp_path / "base")).read_bytes() == path.read_bytes()
    assert len(files) == sum(path.is_file() for path in (tmp_path / "restored").rglob("*"))
    assert restored == base.digests


def test_a_file_that_was_cut_into_shards_is_restored_whole(tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", torch.float16)
    bake([(1.0, base)], source(), tmp_path / "cut.safetensors", residual=tmp_path / "residual", shard_bytes=900)
    baked = open_weights(tmp_path / "cut.safetensors.index.json", TABLE)
    assert len(baked.files) > 2
    unbake(baked, source(), tmp_path / "residual", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == (tmp_path / "base").read_bytes()


def test_deltas_that_are_computed_a_little_differently_restore_the_same_bits(tmp_path: Path) -> None:
    """Another machine's products differ in their last digits."""
    base = base_file(tmp_path / "base", torch.float16)
    true = source()
    elsewhere = Planted({m: replace(delta, scale=delta.scale * (1 + 3e-7)) for m, delta in true.modules.items()})
    bake([(1.0, base)], true, tmp_path / "baked", residual=tmp_path / "residual")
    unbake(open_weights(tmp_path / "baked", TABLE), elsewhere, tmp_path / "residual", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == (tmp_path / "base").read_bytes()


def test_another_sum_does_not_restore_the_base_and_the_module_is_named(tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", torch.float16)
    true = source()
    bake([(1.0, base)], true, tmp_path / "baked", residual=tmp_path / "residual")
    projection = "unet.mid_block.attentions.0.proj_in"
    wrong = Planted({**true.modules, projection: replace(true.modules[projection], scale=1.5)})
    baked = open_weights(tmp_path / "baked", TABLE)
    with pytest.raises(NotRestored, match=projection):
        unbake(baked, wrong, tmp_path / "residual", tmp_path / "restored")
    with pytest.raises(NotRestored, match="is not the base's, bit for bit"):
        unbake(baked, None, tmp_path / "residual", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_the_residual_of_another_bake_is_refused(tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", torch.float16)
    bake([(1.0, base)], source(), tmp_path / "baked", residual=tmp_path / "residual")
    bake([(1.0, base)], source(0.1), tmp_path / "other")
    other = open_weights(tmp_path / "other", TABLE)
    with pytest.raises(CertificateMismatch, match="belongs to other bytes"):
        unbake(other, source(0.1), tmp_path / "residual", tmp_path / "restored")
    with pytest.raises(NotRestored, match="not a residual"):
        unbake(other, source(0.1), tmp_path / "base", tmp_path / "restored")


def test_a_sum_of_several_bases_has_no_residual(tmp_path: Path) -> None:
    a, b = base_file(tmp_path / "a", torch.float16), base_file(tmp_path / "b", torch.float16)
    with pytest.raises(AlgebraError, match="a sum of several bases"):
        bake([(0.5, a), (0.5, b)], None, tmp_path / "out", residual=tmp_path / "residual")


def test_stopping_leaves_nothing_and_nothing_is_overwritten(tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", torch.float16)
    bake([(1.0, base)], source(), tmp_path / "baked", residual=tmp_path / "residual")
    before = sorted(tmp_path.iterdir())
    baked = open_weights(tmp_path / "baked", TABLE)
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        unbake(baked, source(), tmp_path / "residual", tmp_path / "out", cancelled=lambda: next(asked) > 2)
    for place in (tmp_path / "baked", tmp_path / "residual"):
        with pytest.raises(OutputConflict):
            unbake(baked, source(), tmp_path / "residual", place)
    assert sorted(tmp_path.iterdir()) == before


def test_where_digits_would_be_no_less_all_bits_are_kept(tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", torch.float16)
    bake([(1.0, base)], source(), tmp_path / "baked", residual=tmp_path / "residual", dtype="fp32")
    with safe_open(tmp_path / "residual", framework="pt") as file:
        assert {key.partition("/")[0] for key in set(file.keys())} == {"whole", "file"}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_residual_is_an_ordinary_file_and_the_same_from_any_number_of_workers(workers: int, tmp_path: Path) -> None:
    base = base_file(tmp_path / "base", torch.float16)
    for name, count in (("one", 1), ("some", workers)):
        bake([(1.0, base)], source(), tmp_path / "baked", residual=tmp_path / name, resources=Resources(workers=count))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "some").read_bytes()
    with safe_open(tmp_path / "one", framework="pt") as file:
        assert {key.partition("/")[0] for key in set(file.keys())} == {"low", "index", "value", "file"}
    assert read_header(tmp_path / "one").data_start % 8 == 0
    assert open_residual(tmp_path / "one").base["base"][0] == base.digests["base"]
