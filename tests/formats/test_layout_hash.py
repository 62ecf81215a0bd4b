import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from formats import (
    Architecture,
    FolderError,
    Layout,
    architecture,
    architecture_of_folder,
    digest,
    factor_keys,
    known_architectures,
    layout_hash,
    read_header,
)
from formats.layout_hash import as_typed

PROPERTY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = {"F16": np.float16, "F32": np.float32}
TARGETS = ["to_q", "to_k", "to_out.0", "proj_in", "ff.net.2", "conv1", "conv_shortcut", "upsamplers.0.conv"]

Tensors = dict[str, np.ndarray]


class Vector:
    """A LoRA of a few modules, and the same one written in each layout."""

    def __init__(self, table: Architecture, modules: list[str], rank: int, alpha: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.table, self.rank, self.alpha = table, rank, alpha
        self.factors = {}
        for module in modules:
            out, inside, *kernel = table.modules[module].shape
            down, up = (rank, inside, *kernel), (out, rank, *(1 for _ in kernel))
            self.factors[module] = tuple(rng.standard_normal(shape, np.float32) for shape in (down, up))

    def write(self, folder: Path, layout: Layout, dtype: str = "F32", alphas: str | None = None) -> Path:
        """The file, or for PEFT the folder, in `layout`; alphas stored as `alphas` where the layout stores them."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors: Tensors = {}
        for module, (down, up) in self.factors.items():
            keys = factor_keys(layout, module, self.table)
            tensors[keys.down], tensors[keys.up] = down.astype(DTYPES[dtype]), up.astype(DTYPES[dtype])
            if keys.alpha:
                tensors[keys.alpha] = np.array(self.alpha, DTYPES[alphas or dtype])
        name = "adapter_model" if layout is Layout.PEFT else "file"
        config = {"r": self.rank, "lora_alpha": self.alpha}
        flat = {f"{part}.{key}": value for part in self.table.components for key, value in config.items()}
        metadata = {"lora_adapter_metadata": json.dumps(flat)} if layout is Layout.DIFFUSERS else None
        safetensors.numpy.save_file(tensors, folder / f"{name}.safetensors", metadata)
        if layout is Layout.PEFT:
            (folder / "adapter_config.json").write_text(json.dumps(config))
            return folder
        return folder / f"{name}.safetensors"


def writable(table: Architecture, layouts: tuple[Layout, ...]) -> list[str]:
    """The modules that every one of `layouts` can name, and that stay small."""
    names = []
    for module, spec in table.modules.items():
        try:
            for layout in layouts:
                factor_keys(layout, module, table)
        except Exception:
            continue
        if spec.kind != "embedding" and sum(spec.shape) < 1500:
            names.append(module)
    return names


SHARED = tuple(layout for layout in Layout if layout is not Layout.DIFFUSERS_OLD)
"""The layouts that can say any alpha."""


@pytest.fixture(scope="module")
def modules() -> Mapping[str, list[str]]:
    return {name: writable(architecture(name), SHARED) for name in known_architectures()}


@PROPERTY
@given(data=st.data())
def test_every_layout_of_the_same_vector_has_the_same_hash(data, modules, tmp_path: Path) -> None:
    name = data.draw(st.sampled_from(sorted(modules)))
    table = architecture(name)
    chosen = data.draw(st.lists(st.sampled_from(modules[name]), min_size=1, max_size=3, unique=True))
    if sum(part in {one.split(".")[0] for one in chosen} for part in table.components) > 1:
        chosen = chosen[:1]  # PEFT keeps one network a folder
    vector = Vector(table, chosen, data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.3, 1.0, 4.0, 27.5])))
    dtype = data.draw(st.sampled_from(sorted(DTYPES)))
    paths = [vector.write(tmp_path / layout, layout, dtype) for layout in SHARED]
    hashes = {layout_hash(path, table) for path in paths}
    assert len(hashes) == 1
    assert None not in hashes


def test_old_diffusers_files_have_the_hash_of_alpha_equal_to_the_rank(tmp_path: Path) -> None:
    table = architecture("sd15")
    vector = Vector(table, ["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"], 4, 4.0)
    kohya, old = (vector.write(tmp_path / layout, layout) for layout in (Layout.KOHYA, Layout.DIFFUSERS_OLD))
    assert layout_hash(kohya, table) == layout_hash(old, table) is not None


@pytest.fixture(scope="module")
def base(small_base: Path) -> Architecture:
    return architecture_of_folder(small_base, "small")


@pytest.fixture(scope="module")
def adapted(small_pipeline: StableDiffusionPipeline) -> PeftModel:
    """A U-Net under PEFT with ranks and alphas that vary and factors that are not zero."""
    torch.manual_seed(0)
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=TARGETS,
        init_lora_weights=False,
        rank_pattern={"attn1.to_q": 2, "mid_block.*conv1": 5},
        alpha_pattern={"to_k": 3, "proj_in": 0.7},
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(copy.deepcopy(small_pipeline.unet), config)


def kohya_twin(model: PeftModel, path: Path, rename: Mapping[str, str], dtype: torch.dtype) -> Path:
    """What a kohya exporter makes of the same factors, alphas cast like every other tensor."""
    layers = {name: one for name, one in model.base_model.model.named_modules() if isinstance(one, LoraLayer)}
    written = {}
    for name, layer in layers.items():
        stem = rename[f"unet.{name}"]
        written[f"{stem}.lora_down.weight"] = layer.lora_A["default"].weight.to(dtype)
        written[f"{stem}.lora_up.weight"] = layer.lora_B["default"].weight.to(dtype)
        written[f"{stem}.alpha"] = torch.tensor(layer.scaling["default"] * layer.r["default"], dtype=dtype)
    save_file({key: value.detach().contiguous() for key, value in written.items()}, path, {"ss_network_dim": "4"})
    return path


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.KOHYA_SGM])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_peft_saves_and_its_kohya_twin_share_the_hash(
    layout: Layout, dtype: torch.dtype, adapted: PeftModel, base: Architecture, tmp_path: Path
) -> None:
    model = copy.deepcopy(adapted).to(dtype)
    model.save_pretrained(tmp_path / "peft")
    stems = {
        m: factor_keys(layout, m, base).down.removesuffix(".lora_down.weight") for m in base.modules if "unet" in m
    }
    twin = kohya_twin(model, tmp_path / "kohya.safetensors", stems, dtype)
    assert layout_hash(tmp_path / "peft", base) == layout_hash(twin, base) is not None


def test_what_diffusers_saves_has_the_hash_of_the_peft_folder(
    adapted: PeftModel, base: Architecture, tmp_path: Path
) -> None:
    adapted.save_pretrained(tmp_path / "peft")
    state = get_peft_model_state_dict(adapted)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "diffusers",
        unet_lora_layers={key.removeprefix("base_model.model."): value for key, value in state.items()},
        unet_lora_adapter_metadata=adapted.peft_config["default"].to_dict(),
    )
    assert layout_hash(tmp_path / "diffusers", base) == layout_hash(tmp_path / "peft", base) is not None


def test_with_the_digests_of_the_tensors_no_tensor_is_read_again(tmp_path: Path) -> None:
    table = architecture("sd15")
    path = Vector(table, ["unet.conv_in"], 2, 1.0).write(tmp_path, Layout.PEFT) / "adapter_model.safetensors"
    known, before = digest(path).tensors, layout_hash(path, table)
    start = read_header(path).data_start
    path.write_bytes(path.read_bytes()[:start] + bytes(path.stat().st_size - start))
    assert layout_hash(path, table, known) == before != layout_hash(path, table)


def test_a_value_a_scale_a_dtype_and_a_module_count(tmp_path: Path) -> None:
    table = architecture("sd15")
    first, second = "unet.mid_block.resnets.0.time_emb_proj", "unet.mid_block.resnets.1.time_emb_proj"
    variants = [
        Vector(table, [first], 2, 1.0).write(tmp_path / "a", Layout.KOHYA),
        Vector(table, [first], 2, 1.0, seed=1).write(tmp_path / "b", Layout.KOHYA),
        Vector(table, [first], 2, 1.001).write(tmp_path / "c", Layout.KOHYA),
        Vector(table, [second], 2, 1.0).write(tmp_path / "d", Layout.KOHYA),
        Vector(table, [first, second], 2, 1.0).write(tmp_path / "e", Layout.KOHYA),
        Vector(table, [first], 2, 1.0).write(tmp_path / "f", Layout.KOHYA, "F16"),
    ]
    assert len({layout_hash(path, table) for path in variants}) == len(variants)


def test_a_header_edit_the_order_and_1x1_kernels_do_not_count(tmp_path: Path) -> None:
    table = architecture("sd15")
    module = "unet.mid_block.attentions.0.proj_in"
    path = Vector(table, [module], 4, 2.0).write(tmp_path, Layout.KOHYA)
    tensors = safetensors.numpy.load_file(path)
    flat = {key: value.reshape(value.shape[:2]) for key, value in reversed(tensors.items())}
    safetensors.numpy.save_file(flat, tmp_path / "flat.safetensors", {"ss_output_name": "other"})
    assert layout_hash(path, table) == layout_hash(tmp_path / "flat.safetensors", table) is not None


@pytest.mark.parametrize("dtype", ["F16", "F32"])
@pytest.mark.parametrize("alpha", [0.3, 0.1, 1 / 3, 12.7, 1e-3])
def test_an_alpha_that_its_dtype_rounded_is_the_number_that_was_typed(dtype: str, alpha: float, tmp_path: Path) -> None:
    table = architecture("sd15")
    typed = float(f"{alpha:.3g}")
    vector = Vector(table, ["unet.mid_block.resnets.0.time_emb_proj"], 4, typed)
    kohya = vector.write(tmp_path / "kohya", Layout.KOHYA, alphas=dtype)
    assert layout_hash(kohya, table) == layout_hash(vector.write(tmp_path / "peft", Layout.PEFT), table)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(-60_000, 60_000), st.sampled_from([np.float16, np.float32]))
def test_the_typed_number_is_rounded_to_the_stored_one(value: float, dtype: type) -> None:
    stored = float(dtype(value))
    assert float(dtype(as_typed(stored, "F16" if dtype is np.float16 else "F32"))) == stored
    bfloat16 = torch.tensor(value, dtype=torch.bfloat16)
    assert torch.tensor(as_typed(bfloat16.item(), "BF16"), dtype=torch.bfloat16) == bfloat16


STEM = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
KINDS = {
    "loha": {"hada_w1_a": (1280, 4), "hada_w1_b": (4, 1280), "hada_w2_a": (1280, 4), "hada_w2_b": (4, 1280)},
    "lokr": {"lokr_w1": (4, 4), "lokr_w2_a": (320, 2), "lokr_w2_b": (2, 320)},
    "lokr-whole": {"lokr_w1": (4, 4), "lokr_w2": (320, 320)},
    "full": {"diff": (1280, 1280)},
    "dora": {"lora_down.weight": (4, 1280), "lora_up.weight": (1280, 4), "dora_scale": (1280, 1)},
}
SGM = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_other_kinds_have_one_hash_in_both_dialects_of_kohya(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pieces = {end: rng.standard_normal(shape, np.float32) for end, shape in KINDS[kind].items()}
    pieces["alpha"] = np.array(2.0, np.float32)
    for stem in (STEM, SGM):
        safetensors.numpy.save_file({f"{stem}.{end}": one for end, one in pieces.items()}, tmp_path / stem)
    hashes = [layout_hash(tmp_path / stem, architecture("sd15")) for stem in (STEM, SGM)]
    assert hashes[0] == hashes[1] is not None


def test_norms_have_one_hash_in_both_dialects_of_kohya(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pieces = {end: rng.standard_normal(1280, np.float32) for end in ("w_norm", "b_norm")}
    for stem in ("lora_unet_mid_block_resnets_0_norm1", "lora_unet_middle_block_0_in_layers_0"):
        safetensors.numpy.save_file({f"{stem}.{end}": one for end, one in pieces.items()}, tmp_path / stem)
    hashes = {layout_hash(path, architecture("sd15")) for path in tmp_path.iterdir()}
    assert len(hashes) == 1
    assert None not in hashes


def test_the_alpha_of_a_whole_lokr_is_no_scale_and_that_of_a_factored_one_is(tmp_path: Path) -> None:
    def hash_with(kind: str, alpha: float) -> str | None:
        pieces = {f"{STEM}.{end}": np.ones(shape, np.float32) for end, shape in KINDS[kind].items()}
        pieces[f"{STEM}.alpha"] = np.array(alpha, np.float32)
        safetensors.numpy.save_file(pieces, tmp_path / "file")
        return layout_hash(tmp_path / "file", architecture("sd15"))

    assert hash_with("lokr-whole", 1) == hash_with("lokr-whole", 2)
    assert hash_with("lokr", 1) != hash_with("lokr", 2)


def test_a_magnitude_by_output_is_one_in_both_spellings_and_not_one_by_input(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    down, up, size = (rng.standard_normal(shape, np.float32) for shape in ((4, 1280), (1280, 4), (1280,)))
    dotted = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    files: dict[str, Tensors] = {
        "kohya": {f"{STEM}.lora_down.weight": down, f"{STEM}.lora_up.weight": up, f"{STEM}.dora_scale": size[:, None]},
        "peft": {
            f"{dotted}.lora_A.weight": down,
            f"{dotted}.lora_B.weight": up,
            f"{dotted}.lora_magnitude_vector": size,
        },
        "input": {f"{STEM}.lora_down.weight": down, f"{STEM}.lora_up.weight": up, f"{STEM}.dora_scale": size[None]},
    }
    for name, tensors in files.items():
        safetensors.numpy.save_file(tensors, tmp_path / name)
    hashes = {name: layout_hash(tmp_path / name, architecture("sd15")) for name in files}
    assert hashes["kohya"] == hashes["peft"] != hashes["input"]


def test_a_key_that_the_table_does_not_explain_leaves_no_hash(tmp_path: Path) -> None:
    table = architecture("sd15")
    path = Vector(table, ["unet.conv_in"], 2, 1.0).write(tmp_path, Layout.KOHYA)
    tensors = safetensors.numpy.load_file(path)
    for extra in ("something.else", "lora_unet_nowhere.lora_down.weight", "lora_unet_conv_in.lora_A.weight"):
        safetensors.numpy.save_file({**tensors, extra: np.zeros((2, 2), np.float32)}, tmp_path / "more")
        assert layout_hash(tmp_path / "more", table) is None


def test_what_is_no_adapter_has_no_hash(small_base: Path, base: Architecture, tmp_path: Path) -> None:
    assert layout_hash(small_base, base) is None
    assert layout_hash(small_base / "unet" / "diffusion_pytorch_model.safetensors", base) is None
    with pytest.raises(FolderError):
        layout_hash(tmp_path, base)
