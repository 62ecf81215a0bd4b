"""A base with a sum in it: tensors against a dense float64 oracle, the bytes that should not change, the refusals."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from arithmetic.baking import BakeCertificate, bake
from arithmetic.baking.demands import touched_modules
from arithmetic.baking.proof import prove
from arithmetic.baking.sheets import draw_sheets
from arithmetic.certificate import certificate_path
from arithmetic.deltas import Delta, Dense, LowRank
from arithmetic.errors import (
    AlgebraError,
    BoundExceeded,
    Cancelled,
    MissingModule,
    OutputConflict,
    Overflow,
    ShapeMismatch,
)
from arithmetic.weights import Weights, open_weights
from demo.training import networks
from formats import Architecture, Layout, ModuleSpec, architecture_of_folder, read_header
from formats.norms import norm_widths
from formats.spellings import stems

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CLOSE = 1e-4


@dataclass(frozen=True)
class Planted:
    """A sum whose deltas are known."""

    architecture: Architecture
    modules: Mapping[str, Delta]
    name: str = "planted"
    content: str = field(default="planted", compare=False)

    def delta(self, module: str) -> Delta:
        return self.modules[module]


def planted(table: Architecture, modules: Mapping[str, tuple[int, ...]], seed: int = 0, size: float = 0.02) -> Planted:
    """Low-rank deltas for weights, dense ones for biases and norms."""
    generator = torch.Generator().manual_seed(seed)
    deltas: dict[str, Delta] = {}
    for i, (module, shape) in enumerate(modules.items()):
        if len(shape) == 1:
            deltas[module] = Dense(torch.randn(shape[0], 1, generator=generator) * size)
        else:
            rank = i % 4 + 1
            up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator) * size
            down = torch.randn(rank, *shape[1:], generator=generator)
            deltas[module] = LowRank(up.half() if i % 2 else up, down.half() if i % 2 else down, 0.5)
    return Planted(table, deltas)


@dataclass(frozen=True)
class World:
    """A random pipeline of the shapes world's classes in one dtype: as a folder, and as the original code's file."""

    folder: Path
    file: Path
    unet: Path
    table: Architecture

    def path(self, kind: str) -> Path:
        return {"folder": self.folder, "file": self.file, "unet": self.unet}[kind]

    def weights(self, kind: str, name: str = "base") -> Weights:
        return open_weights(self.path(kind), self.table, name)

    def source(self, kind: str = "folder", seed: int = 0) -> Planted:
        """Deltas for every other module of each component, norms and biases among them."""
        shapes = {module: spec.shape for module, spec in self.table.modules.items() if "embedding." not in module}
        shapes |= {f"{norm}.weight": (width,) for norm, width in norm_widths(self.table).items()}
        shapes["unet.conv_in.bias"] = (64,)
        own = {m: s for m, s in shapes.items() if kind != "unet" or m.startswith("unet.")}
        return planted(self.table, dict(list(own.items())[::2]) | {"unet.conv_in.bias": (64,)}, seed)


def make_world(folder: Path, dtype: torch.dtype, seed: int = 0) -> World:
    base = folder / "base"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = networks.write_tokenizer(base / "tokenizer")
        pipe = StableDiffusionPipeline(
            vae=networks.autoencoder(),
            text_encoder=networks.text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=networks.unet(),
            scheduler=networks.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.to(dtype).save_pretrained(base)
    table = architecture_of_folder(base, "shapes")
    file = save_original(pipe, table, folder / "checkpoint.safetensors")
    return World(base, file, base / "unet" / "diffusion_pytorch_model.safetensors", table)


def save_original(pipe: StableDiffusionPipeline, table: Architecture, path: Path) -> Path:
    """The pipeline in one file, as SD-1 checkpoints are: the original code's U-Net, CLIP, and what no module is of."""
    tensors = {}
    for key, tensor in pipe.unet.state_dict().items():
        module, _, end = key.rpartition(".")
        (stem,) = stems(Layout.COMFY, f"unet.{module}", table)
        tensors[f"model.{stem}.{end}"] = tensor
    for key, tensor in pipe.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = tensor
    tensors |= {f"first_stage_model.{key}": tensor for key, tensor in pipe.vae.state_dict().items()}
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(16)[None]
    tensors["alphas_cumprod"] = pipe.scheduler.alphas_cumprod.clone()
    metadata = {"format": "pt", "modelspec.hash_sha256": "0xstale", "modelspec.title": "the base"}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """A world in each dtype, made once."""
    made: dict[str, World] = {}

    def world(dtype: str) -> World:
        if dtype not in made:
            made[dtype] = make_world(tmp_path_factory.mktemp(dtype), DTYPES[dtype])
        return made[dtype]

    return world


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Another base of the same table, fp32."""
    return make_world(tmp_path_factory.mktemp("other"), torch.float32, seed=1)


def check_sums(written: Weights, base: Weights, source: Planted, coarse: torch.dtype | None = None) -> None:
    """Every module is the oracle's, rounded once: off by half a unit in the last place, and by what its sum rounds."""
    for module in base.modules:
        before, after = base.weight(module), written.weight(module)
        if module in source.modules:
            delta = source.modules[module]
            exact = before.double() + delta.dense().reshape(before.shape)
            summed = before.double().abs() + magnitude(delta).reshape(before.shape)
            fine = torch.finfo(torch.float64 if after.itemsize > 2 else torch.float32).eps
            allowed = 0.5 * unit(exact, after.dtype) + 4 * fine * summed
            assert (after.double() - exact).abs().le(allowed).all(), module
        else:
            assert torch.equal(after, before if coarse is None else before.to(coarse)), module


def magnitude(delta: Delta) -> torch.Tensor:
    """The sum of the magnitudes of what each entry of dW is a sum of."""
    if isinstance(delta, LowRank):
        up, down = delta.matrices()
        return up.abs() @ down.abs()
    return delta.dense().abs()


def unit(exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance of neighbours of `dtype` where `exact` is, in float64."""
    info = torch.finfo(dtype)
    exponent = exact.abs().clamp(min=info.smallest_normal).log2().floor()
    return torch.exp2(exponent) * info.eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["folder", "file", "unet"])
def test_every_module_is_the_base_plus_its_delta_rounded_once(
    kind: str, dtype: str, worlds: Callable, tmp_path: Path
) -> None:
    world = worlds(dtype)
    base, source = world.weights(kind), world.source(kind)
    proof = bake([(1.0, base)], source, tmp_path / "baked.safetensors")
    written = open_weights(tmp_path / "baked.safetensors", world.table)
    check_sums(written, base, source)
    assert proof.worst_relative_error <= proof.bound
    assert proof.modules.keys() == source.modules.keys()
    assert BakeCertificate.from_json(certificate_path(tmp_path / "baked.safetensors").read_text()) == proof


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_module_and_what_is_not_touched_keeps_its_bytes(kind: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    base, source = world.weights(kind), world.source()
    proof = bake([(1.0, base)], source, tmp_path / "baked.safetensors")
    written = open_weights(tmp_path / "baked.safetensors", world.table)
    changed = {(base.place(module).file.name, base.place(module).key) for module in source.modules}
    same = 0
    for file, own in zip(written.files, base.files, strict=True):
        assert list(file.header.tensors) == sorted(own.header.tensors, key=lambda key: own.header.tensors[key].start)
        for key in own.header.tensors:
            if (own.path.name, key) not in changed:
                same += 1
                assert bytes(written.mapped(file.path).raw(key)) == bytes(base.mapped(own.path).raw(key)), key
    assert proof.untouched == same


def test_every_other_file_of_a_folder_is_copied_byte_for_byte(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    proof = bake([(1.0, world.weights("folder"))], world.source(), tmp_path / "baked")
    weights = {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    files = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*") if path.is_file()}
    assert {
        p.relative_to(tmp_path / "baked").as_posix() for p in (tmp_path / "baked").rglob("*") if p.is_file()
    } == files
    for name in files - weights:
        assert (tmp_path / "baked" / name).read_bytes() == (world.folder / name).read_bytes()
    assert proof.files.keys() == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baked", "baked.certificate.json"]


def copy_of(folder: Path, to: Path) -> Path:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    return to


def test_the_same_weights_in_another_form_would_be_stale_and_are_left_out_by_name(
    worlds: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    folder = copy_of(world.folder, tmp_path / "base")
    stale = ["unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "all.ckpt"]
    kept = ["text_encoder/pytorch_model.bin", "vae/diffusion_pytorch_model.bin", "README.md"]
    for name in [*stale, *kept, ".git/HEAD"]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    source = world.source("unet")
    proof = bake([(1.0, open_weights(folder, world.table))], source, tmp_path / "baked")
    assert sorted(proof.left_out) == sorted([*stale, ".git/"])
    assert not any((tmp_path / "baked" / name).exists() for name in [*stale, ".git"])
    assert all((tmp_path / "baked" / name).read_bytes() == b"x" for name in kept)
    text_encoder = "text_encoder/model.safetensors"
    assert (tmp_path / "baked" / text_encoder).read_bytes() == (folder / text_encoder).read_bytes()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_are_read_by_diffusers_and_transformers(variant: str | None, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    folder = copy_of(world.folder, tmp_path / "base")
    if variant:
        for name in ("unet/diffusion_pytorch_model", "text_encoder/model"):
            (folder / f"{name}.safetensors").rename(folder / f"{name}.fp16.safetensors")
    base, source = open_weights(folder, world.table), world.source()
    bake([(1.0, base)], source, tmp_path / "baked", shard_bytes=500_000)
    written = open_weights(tmp_path / "baked", world.table)
    check_sums(written, base, source)
    assert len(written.files) > 4
    assert all(file.path.stat().st_size < 520_000 for file in written.files if len(file.header.tensors) > 1)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "baked" / "unet", variant=variant, dtype=torch.float16)
    text = CLIPTextModel.from_pretrained(tmp_path / "baked" / "text_encoder", variant=variant, dtype=torch.float16)
    assert torch.equal(unet.conv_in.weight, written.weight("unet.conv_in"))
    name = "text_encoder.text_model.encoder.layers.1.mlp.fc1"
    assert torch.equal(text.get_parameter("encoder.layers.1.mlp.fc1.weight"), written.weight(name))


def test_a_base_in_shards_keeps_them_or_is_cut_anew(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    source = world.source()
    bake([(1.0, world.weights("folder"))], source, tmp_path / "shards", shard_bytes=500_000)
    base = open_weights(tmp_path / "shards", world.table)
    bake([(1.0, base)], source, tmp_path / "again")
    bake([(1.0, base)], source, tmp_path / "whole", shard_bytes=10**9)
    again, whole = (open_weights(tmp_path / name, world.table) for name in ("again", "whole"))
    assert [file.name for file in again.files] == [file.name for file in base.files]
    assert [file.path.name for file in whole.files] == ["diffusion_pytorch_model.safetensors", "model.safetensors"]
    assert not list((tmp_path / "whole").rglob("*.index.json"))
    for written in (again, whole):
        check_sums(written, base, source)


def test_one_file_is_cut_into_shards_with_an_index(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    base, source = world.weights("file"), world.source()
    bake([(1.0, base)], source, tmp_path / "out.safetensors", shard_bytes=2_000_000)
    index = tmp_path / "out.safetensors.index.json"
    written = open_weights(index, world.table)
    check_sums(written, base, source)
    assert {file.path.name for file in written.files} == {
        f"out-{i + 1:05d}-of-{len(written.files):05d}.safetensors" for i in range(len(written.files))
    }
    document = json.loads(index.read_text())
    assert document["weight_map"].keys() == base.files[0].header.tensors.keys()
    assert document["metadata"]["total_size"] == sum(s.end - s.start for s in base.files[0].header.tensors.values())
    with pytest.raises(OutputConflict, match="Shards are never replaced"):
        bake([(1.0, base)], source, tmp_path / "out.safetensors", shard_bytes=2_000_000)


@pytest.mark.parametrize(("stored", "asked"), [("fp32", "fp16"), ("fp32", "bf16"), ("fp16", "fp32"), ("bf16", "fp16")])
def test_another_dtype_is_every_modules_and_nothing_elses(
    stored: str, asked: str, worlds: Callable, tmp_path: Path
) -> None:
    world = worlds(stored)
    base, source = world.weights("file"), world.source()
    proof = bake([(1.0, base)], source, tmp_path / "baked.safetensors", dtype=asked)
    written = open_weights(tmp_path / "baked.safetensors", world.table)
    check_sums(written, base, source, coarse=DTYPES[asked])
    header = read_header(tmp_path / "baked.safetensors")
    assert (
        header.tensors["first_stage_model.quant_conv.weight"].dtype
        == {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}[stored]
    )
    assert header.tensors["alphas_cumprod"].dtype == "F32"
    assert proof.dtype == {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}[asked]


def test_a_dtype_alone_is_something_to_bake(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    bake([(1.0, world.weights("folder"))], None, tmp_path / "half", dtype="fp16")
    check_sums(
        open_weights(tmp_path / "half", world.table), world.weights("folder"), Planted(world.table, {}), torch.float16
    )


def test_a_third_of_a_fused_tensor_changes_and_the_other_two_do_not(tmp_path: Path) -> None:
    width, attention = 6, "text_encoder.text_model.encoder.layers.0.self_attn"
    shapes = {f"{attention}.{p}_proj": (width, width) for p in "qkv"} | {"text_encoder_2.text_projection": (width, 5)}
    table = Architecture("tiny", {module: ModuleSpec("linear", shape) for module, shape in shapes.items()})
    stored = {
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": torch.randn(3 * width, width),
        "conditioner.embedders.1.model.text_projection": torch.randn(5, width),
    }
    save_file(stored, tmp_path / "base")
    source = planted(table, {f"{attention}.k_proj": (width, width), "text_encoder_2.text_projection": (width, 5)})
    proof = bake([(1.0, open_weights(tmp_path / "base", table))], source, tmp_path / "baked")
    fused, turned = (load_file(tmp_path / "baked")[key] for key in stored)
    before = stored["cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"]
    assert torch.equal(fused[:width], before[:width])
    assert torch.equal(fused[2 * width :], before[2 * width :])
    delta = source.modules[f"{attention}.k_proj"].dense()
    assert torch.allclose(fused[width : 2 * width].double(), before[width : 2 * width].double() + delta, rtol=1e-7)
    delta = source.modules["text_encoder_2.text_projection"].dense().T
    expected = stored["conditioner.embedders.1.model.text_projection"].double() + delta
    assert torch.allclose(turned.double(), expected, rtol=1e-7)
    assert proof.moved == 2


def test_bases_are_summed_with_their_biases_and_the_first_ones_vae(
    worlds: Callable, other: World, tmp_path: Path
) -> None:
    world = worlds("fp32")
    a, b = world.weights("file", "a"), other.weights("folder", "b")
    source = world.source()
    bake([(0.25, a), (0.75, b)], source, tmp_path / "merged")
    written = open_weights(tmp_path / "merged", world.table)
    for module in a.modules:
        exact = 0.25 * a.weight(module).double() + 0.75 * b.weight(module).double()
        if module in source.modules:
            exact += source.modules[module].dense().reshape(exact.shape)
        assert torch.allclose(written.weight(module).double(), exact, rtol=2e-7, atol=1e-9), module
    key = "first_stage_model.quant_conv.weight"
    assert torch.equal(load_file(tmp_path / "merged")[key], load_file(world.file)[key])


def test_a_base_plus_the_difference_of_two_equal_ones_is_that_base(
    worlds: Callable, other: World, tmp_path: Path
) -> None:
    a, b = worlds("fp32").weights("folder", "a"), other.weights("folder", "b")
    with pytest.raises(BoundExceeded, match="no weight moved"):
        bake([(1.0, a), (1.0, b), (-1.0, b)], None, tmp_path / "same")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("coefficients", [(0.5, 0.4), (1.0, -1.0), (1.0, 1.0)])
def test_coefficients_that_make_no_base_are_refused(
    coefficients: tuple[float, float], worlds: Callable, other: World, tmp_path: Path
) -> None:
    bases = list(zip(coefficients, (worlds("fp32").weights("folder"), other.weights("folder")), strict=True))
    with pytest.raises(AlgebraError, match="expected 1 for a base"):
        bake(bases, None, tmp_path / "out")


def test_a_module_that_the_base_lacks_is_an_error(worlds: Callable, other: World, tmp_path: Path) -> None:
    world = worlds("fp32")
    with pytest.raises(MissingModule, match="text_encoder"):
        bake([(1.0, world.weights("unet"))], world.source(), tmp_path / "out")
    with pytest.raises(MissingModule, match="text_encoder"):
        bake([(0.5, world.weights("file")), (0.5, other.weights("unet"))], None, tmp_path / "out")
    with pytest.raises(MissingModule, match="text_encoder"):
        bake([(0.5, world.weights("unet")), (0.5, other.weights("file"))], None, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_delta_of_another_size_is_an_error_that_names_the_module(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    source = planted(world.table, {"unet.conv_in": (64, 9, 3, 3)})
    with pytest.raises(ShapeMismatch, match=r"unet\.conv_in: its delta is \[64, 81\], the base's weight \[64, 36\]"):
        bake([(1.0, world.weights("folder"))], source, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_fp16_cannot_hold_is_an_error_that_names_the_module(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    source = planted(world.table, {"unet.mid_block.resnets.0.conv1": (128, 128, 3, 3)}, size=1e5)
    with pytest.raises(Overflow, match=r"unet\.mid_block\.resnets\.0\.conv1: an entry is .* float16"):
        bake([(1.0, world.weights("file"))], source, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_to_change_and_nothing_changed_are_errors(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    with pytest.raises(AlgebraError, match="nothing would change"):
        bake([(1.0, world.weights("file"))], None, tmp_path / "out")
    lost = planted(world.table, {"unet.conv_in": (64, 4, 3, 3)}, size=1e-12)
    with pytest.raises(BoundExceeded, match="no weight moved"):
        bake([(1.0, world.weights("file"))], lost, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("phase", ["writing", "proving"])
def test_an_interruption_leaves_nothing(phase: str, kind: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")

    def interrupt(now: str, done: int, total: int) -> None:
        if now == phase and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bake(
            [(1.0, world.weights(kind))], world.source(), tmp_path / "out", residual=tmp_path / "r", progress=interrupt
        )
    asked = iter(range(10**6))
    with pytest.raises(Cancelled, match="nothing was written"):
        bake([(1.0, world.weights(kind))], world.source(), tmp_path / "out", cancelled=lambda: next(asked) > 9)
    assert not list(tmp_path.iterdir())


def test_an_earlier_file_is_replaced_by_a_success_and_kept_by_a_failure(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    place = tmp_path / "out.safetensors"
    place.write_bytes(b"earlier")
    with pytest.raises(Overflow):
        bake([(1.0, world.weights("file"))], planted(world.table, {"unet.conv_in": (64, 4, 3, 3)}, size=1e9), place)
    assert place.read_bytes() == b"earlier"
    bake([(1.0, world.weights("file"))], world.source(), place)
    assert read_header(place).tensors.keys() == read_header(world.file).tensors.keys()


def test_inputs_and_folders_are_never_overwritten(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    (tmp_path / "taken").mkdir()
    for kind, place in (
        ("file", world.file),
        ("file", tmp_path / "taken"),
        ("folder", world.folder),
        ("folder", world.folder / "inside"),
        ("folder", tmp_path / "taken"),
    ):
        with pytest.raises(OutputConflict):
            bake([(1.0, world.weights(kind))], world.source(), place)
    with pytest.raises(OutputConflict):
        bake([(1.0, world.weights("file"))], world.source(), tmp_path / "out", residual=world.file)
    with pytest.raises(OutputConflict):
        bake([(1.0, world.weights("file"))], world.source(), tmp_path / "out", residual=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(kind: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    proofs = [bake([(1.0, world.weights(kind))], world.source(), tmp_path / str(n) / "out", workers=n) for n in (1, 3)]
    assert proofs[0] == proofs[1]


def test_the_header_says_what_was_baked_and_claims_no_hash_of_the_base(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    texts = {"recipe": "base + 0.8*style", "locked": "sha256:00 + 0.8*sha256:11"}
    bake([(1.0, world.weights("file"))], world.source(), tmp_path / "out", metadata={"more": "said"}, **texts)
    with safe_open(tmp_path / "out", framework="pt") as file:
        said = file.metadata()
    assert said == {
        "format": "pt",
        "modelspec.title": "the base",
        "more": "said",
        "tauworks.recipe": texts["recipe"],
        "tauworks.locked": texts["locked"],
    }


@dataclass(frozen=True)
class Fickle(Planted):
    """A sum that says something else each time: what a proof is for."""

    asked: dict[str, int] = field(default_factory=dict, compare=False)

    def delta(self, module: str) -> Delta:
        self.asked[module] = self.asked.get(module, 0) + 1
        delta = self.modules[module]
        return LowRank(delta.up, delta.down, delta.scale * self.asked[module])


def test_a_file_that_is_not_the_sum_is_never_published(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    source = planted(world.table, {"unet.conv_in": (64, 4, 3, 3)})
    with pytest.raises(BoundExceeded, match=r"unet\.conv_in: arithmetic error"):
        bake([(1.0, world.weights("file"))], Fickle(world.table, source.modules), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["first_stage_model.quant_conv.weight", "model.diffusion_model.out.2.weight"])
def test_the_proof_sees_a_single_bit(key: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    base, source = world.weights("file"), planted(world.table, {"unet.conv_out": (4, 64, 3, 3)})
    bake([(1.0, base)], source, tmp_path / "out")
    sheets = draw_sheets(
        base, touched_modules([(1.0, base)], source), tag=None, shard_bytes=None, metadata={}, file_name="out"
    )
    header = read_header(tmp_path / "out")
    with (tmp_path / "out").open("r+b") as file:
        file.seek(header.data_start + header.tensors[key].start + 1)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 64]))
    written = open_weights(tmp_path / "out", world.table)
    if "first_stage" in key:
        with pytest.raises(BoundExceeded, match=r"quant_conv\.weight is not the base's"):
            prove(written, sheets, [(1.0, base)], source, workers=1)
    else:
        found = prove(written, sheets, [(1.0, base)], source, workers=1)
        assert found.errors["unet.conv_out"] > found.bounds["unet.conv_out"]


def test_weights_below_the_smallest_normal_number_pass_their_proof(tmp_path: Path) -> None:
    table = Architecture("tiny", {"unet.conv_in": ModuleSpec("linear", (40, 30))})
    save_file({"conv_in.weight": (torch.randn(40, 30) * 3e-7).half()}, tmp_path / "base")
    source = Planted(table, {"unet.conv_in": Dense(torch.randn(40, 30, dtype=torch.float64) * 3e-7)})
    proof = bake([(1.0, open_weights(tmp_path / "base", table))], source, tmp_path / "baked")
    assert proof.worst_relative_error <= 2e-3


def latents(pipe: StableDiffusionPipeline) -> torch.Tensor:
    """Three guided steps from one noise."""
    pipe.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 3, "guidance_scale": 3.0, "width": 64, "height": 64, "output_type": "latent"}
    return pipe("a large red circle", generator=torch.Generator().manual_seed(1), **settings).images


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*", "ignore:Already found a `peft_config`:UserWarning")
@pytest.mark.parametrize("shard_bytes", [None, 1_000_000])
def test_a_baked_folder_paints_what_fuse_lora_paints(shard_bytes: int | None, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    source = planted(
        world.table,
        {
            m: s.shape
            for m, s in world.table.modules.items()
            if s.kind != "embedding" and "proj" not in m.split(".")[-1][5:]
        },
        size=0.05,
    )
    state = {}
    for module, delta in source.modules.items():
        state[f"{module}.lora_A.weight"] = delta.down.float()
        state[f"{module}.lora_B.weight"] = delta.up.float() * delta.scale
    fused = StableDiffusionPipeline.from_pretrained(world.folder, safety_checker=None, dtype=torch.float32)
    plain = latents(fused)
    fused.load_lora_weights(state)
    fused.fuse_lora()
    wanted = latents(fused)
    assert (wanted - plain).abs().max() > 0.01
    bake([(1.0, world.weights("folder"))], source, tmp_path / "baked", shard_bytes=shard_bytes)
    baked = StableDiffusionPipeline.from_pretrained(tmp_path / "baked", safety_checker=None, dtype=torch.float32)
    assert (latents(baked) - wanted).abs().max() < CLOSE


def test_a_baked_checkpoint_holds_the_folders_weights_under_the_original_names(
    worlds: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    bake([(1.0, world.weights("file"))], world.source(), tmp_path / "file")
    bake([(1.0, world.weights("folder"))], world.source(), tmp_path / "folder")
    file, folder = (open_weights(tmp_path / name, world.table) for name in ("file", "folder"))
    assert file.modules.keys() == folder.modules.keys()
    for module in folder.modules:
        assert torch.equal(file.weight(module), folder.weight(module)), module
