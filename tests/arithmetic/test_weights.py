"""A base's tensors by module, from every way of storing one; diffusers' own readers are the oracle."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_open_clip_checkpoint
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from arithmetic.errors import AlgebraError, MissingModule
from arithmetic.weights import Weights, open_weights
from formats import Architecture, Layout, ModuleSpec, architecture, architecture_of_folder
from formats.spellings import stems

STRIPPED = Path(__file__).parents[1] / "formats" / "stripped"
PREFIX = "model.diffusion_model."
FAMILIES = ("sd15", "sd21", "sdxl", "ssd1b")
SHAPES = {
    "sd15": {"cross_attention_dim": 768},
    "sd21": {"cross_attention_dim": 1024},
    "sdxl": {"addition_embed_type": "text_time"},
    "ssd1b": {"addition_embed_type": "text_time"},
}


@pytest.fixture
def stripped(tmp_path: Path) -> Callable[..., Path]:
    """The keys and shapes of a whole checkpoint, from the corpus of headers; its data are a hole."""

    def write(name: str, more: Mapping[str, tuple[int, ...]] | None = None) -> Path:
        case = json.loads(gzip.decompress((STRIPPED / f"{name}.json.gz").read_bytes()))
        return write_hole(tmp_path / f"{name}.safetensors", {**case["tensors"], **(more or {})}, case["metadata"])

    return write


def write_hole(path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> Path:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    position = 0
    for key, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
    return path


def config(family: str) -> dict[str, object]:
    """What diffusers' reader asks of a U-Net's configuration."""
    return {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None, **SHAPES[family]}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_of_a_checkpoints_unet_is_where_diffusers_own_reader_finds_it(
    family: str, stripped: Callable
) -> None:
    weights = open_weights(stripped(f"{family}-checkpoint"), architecture(family))
    keys = [key for key in weights.files[0].header.tensors if key.startswith(PREFIX)]
    expected = convert_ldm_unet_checkpoint({key: key for key in keys}, config(family))
    found = {module: place.key for module, place in weights.modules.items() if module.startswith("unet.")}
    assert state_names(found, architecture(family)) == {f"unet.{name}": key for name, key in expected.items()}
    assert not weights.misfits


def state_names(found: Mapping[str, str], table: Architecture) -> dict[str, str]:
    """Modules under the names of a state dict: a weight of the table is called `<module>.weight` there."""
    return {f"{module}.weight" if module in table.modules else module: key for module, key in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_is_a_modules_or_carried(family: str, stripped: Callable) -> None:
    weights = open_weights(stripped(f"{family}-checkpoint", {"model_ema.decay": ()}), architecture(family))
    keys = {key for _, key in (*weights.parts, *weights.carried)}
    assert keys == weights.files[0].header.tensors.keys()
    carried = {key for _, key in weights.carried}
    beyond = {key for key in keys if "resblocks.23." in key} if family == "sd21" else set()
    vae = {"first_stage_model.encoder.conv_in.weight", "first_stage_model.quant_conv.weight"}
    assert carried == {"model_ema.decay", *vae, *beyond}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_module_of_the_table_is_found(family: str, stripped: Callable) -> None:
    has_projection = "text_encoder_2.text_projection" in architecture(family).modules
    projection = {"conditioner.embedders.1.model.text_projection": (1280, 1280)} if has_projection else {}
    weights = open_weights(stripped(f"{family}-checkpoint", projection), architecture(family))
    assert weights.missing == ()
    for module, spec in architecture(family).modules.items():
        assert weights.weight(module).shape == spec.shape


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_and_biases_are_modules_too(family: str, stripped: Callable) -> None:
    weights = open_weights(stripped(f"{family}-checkpoint"), architecture(family))
    assert weights.weight("unet.conv_in.bias").shape == (320,)
    assert weights.weight("unet.down_blocks.1.resnets.0.norm1.weight").shape == (320,)
    assert weights.weight("unet.conv_norm_out.bias").shape == (320,)
    assert "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.bias" not in weights.modules


def clip(width: int = 12, layers: int = 3, *, projection: bool = False) -> torch.nn.Module:
    """A small text encoder with random weights, biases and norms included."""
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    network = kind(
        CLIPTextConfig(
            vocab_size=30,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=9,
            projection_dim=width,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    generator = torch.Generator().manual_seed(width)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network


def canonical(network: torch.nn.Module, component: str) -> dict[str, torch.Tensor]:
    """The network's parameters under the names of the tables."""
    return {
        f"{component}." + (name if name.startswith("text_") else f"text_model.{name}"): tensor
        for name, tensor in network.state_dict().items()
    }


def table_of(states: Mapping[str, torch.Tensor], name: str = "tiny") -> Architecture:
    """The module table of canonical parameters."""
    modules = {}
    for key, tensor in states.items():
        if tensor.dim() > 1:
            kind = "embedding" if "embeddings" in key else "conv" if tensor.dim() == 4 else "linear"
            modules[key.removesuffix(".weight")] = ModuleSpec(kind, tuple(tensor.shape))
    return Architecture(name, modules)


def in_openclip(states: Mapping[str, torch.Tensor], component: str, prefix: str) -> dict[str, torch.Tensor]:
    """A text encoder as OpenCLIP stores it: query, key and value in one tensor, the projection the other way round."""
    own = {key.removeprefix(f"{component}."): tensor for key, tensor in states.items() if key.startswith(component)}
    renamed = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    stored = {}
    for key, tensor in own.items():
        if ".self_attn." in key and "out_proj" not in key:
            continue
        name = key.replace("text_model.encoder.layers", "transformer.resblocks").replace("self_attn", "attn")
        for new, old in renamed.items():
            name = name.replace(f".{new}.", f".{old}.")
        name = name.replace("text_model.embeddings.token_embedding", "token_embedding")
        name = name.replace("text_model.embeddings.position_embedding.weight", "positional_embedding")
        stored[name.replace("text_model.final_layer_norm", "ln_final")] = tensor
    for key in own:
        if ".q_proj." in key:
            layer, end = key.split(".")[3], key.rpartition(".")[2]
            rows = [own[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            stored[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(rows)
    if "text_projection.weight" in stored:
        stored["text_projection"] = stored.pop("text_projection.weight").T
    return {f"{prefix}{key}": tensor.contiguous() for key, tensor in stored.items()}


def check_values(weights: Weights, states: Mapping[str, torch.Tensor]) -> None:
    """Every parameter is read as it was."""
    for key, tensor in states.items():
        module = key.removesuffix(".weight") if key.removesuffix(".weight") in weights.architecture.modules else key
        assert torch.equal(weights.weight(module), tensor), key
    assert weights.missing == ()


def test_a_fused_and_transposed_second_text_encoder_is_read_as_transformers_holds_it(tmp_path: Path) -> None:
    first, second = canonical(clip(8), "text_encoder"), canonical(clip(12, projection=True), "text_encoder_2")
    stored = in_openclip(second, "text_encoder_2", "conditioner.embedders.1.model.")
    stored |= {f"conditioner.embedders.0.transformer.{k.partition('.')[2]}": v for k, v in first.items()}
    stored["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = torch.arange(9)[None]
    stored["conditioner.embedders.1.model.logit_scale"] = torch.tensor(4.6)
    save_file(stored, tmp_path / "sdxl.safetensors")
    weights = open_weights(tmp_path / "sdxl.safetensors", table_of(first | second))
    check_values(weights, first | second)
    assert {key.rpartition(".")[2] for _, key in weights.carried} == {"position_ids", "logit_scale"}
    place = weights.place("text_encoder_2.text_model.encoder.layers.1.self_attn.k_proj")
    assert (place.rows, place.transposed) == ((12, 24), False)
    assert weights.place("text_encoder_2.text_projection").transposed
    network = clip(12, projection=True)
    read_by_diffusers = convert_open_clip_checkpoint(network, stored, "conditioner.embedders.1.model.")
    for name, tensor in read_by_diffusers.items():
        assert torch.equal(tensor, second[f"text_encoder_2.{name}"])


@pytest.mark.parametrize("prefix", ["cond_stage_model.transformer.", "cond_stage_model.transformer.bare"])
def test_a_first_text_encoder_is_read_with_and_without_its_outer_name(prefix: str, tmp_path: Path) -> None:
    states = canonical(clip(), "text_encoder")
    bare = prefix.endswith("bare")
    stem = prefix.removesuffix("bare")
    names = {k: k.removeprefix("text_encoder.") for k in states}
    save_file(
        {stem + (n.removeprefix("text_model.") if bare else n): states[k] for k, n in names.items()}, tmp_path / "f"
    )
    check_values(open_weights(tmp_path / "f", table_of(states)), states)


def test_an_openclip_encoder_alone_in_its_checkpoint_is_the_first_or_the_refiners_second(tmp_path: Path) -> None:
    for component, prefix, projection in (
        ("text_encoder", "cond_stage_model.model.", False),
        ("text_encoder_2", "conditioner.embedders.0.model.", True),
    ):
        states = canonical(clip(projection=projection), component)
        save_file(in_openclip(states, component, prefix), tmp_path / component)
        check_values(open_weights(tmp_path / component, table_of(states)), states)


def small_unet(*, linear: bool = False) -> UNet2DConditionModel:
    """A U-Net with both kinds of block and a shortcut, norms and biases random."""
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=4,
        norm_num_groups=4,
        use_linear_projection=linear,
    )
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network


def in_original_code(states: Mapping[str, torch.Tensor], table: Architecture) -> dict[str, torch.Tensor]:
    """A U-Net's parameters under the original code's names, without a prefix."""
    stored = {}
    for key, tensor in states.items():
        module, _, end = key.rpartition(".")
        (stem,) = stems(Layout.COMFY, module, table)
        stored[f"{stem.removeprefix('diffusion_model.')}.{end}"] = tensor
    return stored


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
def test_a_unet_alone_is_read_under_every_prefix_as_diffusers_reads_it(prefix: str, tmp_path: Path) -> None:
    states = {f"unet.{name}": tensor for name, tensor in small_unet().state_dict().items()}
    table = table_of(states)
    original = in_original_code(states, table)
    save_file({prefix + key: tensor for key, tensor in original.items()}, tmp_path / "unet")
    check_values(open_weights(tmp_path / "unet", table), states)
    config = {"layers_per_block": 1, "class_embed_type": None, "addition_embed_type": None}
    for name, tensor in convert_ldm_unet_checkpoint(dict(original), config).items():
        assert torch.equal(tensor, states[f"unet.{name}"])


def test_a_unet_alone_is_read_in_diffusers_names_from_a_file_and_from_its_folder(tmp_path: Path) -> None:
    network = small_unet()
    states = {f"unet.{name}": tensor for name, tensor in network.state_dict().items()}
    network.save_pretrained(tmp_path / "folder")
    file = tmp_path / "folder" / "diffusion_pytorch_model.safetensors"
    for path in (tmp_path / "folder", file):
        weights = open_weights(path, table_of(states))
        check_values(weights, states)
        assert weights.carried == ()


def test_linear_projections_stored_as_convolutions_are_the_same_modules(tmp_path: Path) -> None:
    states = {f"unet.{name}": tensor for name, tensor in small_unet(linear=True).state_dict().items()}
    table = table_of(states)
    stored = in_original_code(states, table)
    for key in [key for key in stored if "proj_in.weight" in key or "proj_out.weight" in key]:
        stored[key] = stored[key][:, :, None, None].contiguous()
    save_file(stored, tmp_path / "file")
    check_values(open_weights(tmp_path / "file", table), states)


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("shard", ["10GB", "20KB"])
def test_a_folders_shards_and_variants_are_read(variant: str | None, shard: str, tmp_path: Path) -> None:
    unet, text = small_unet(), clip()
    if variant:
        unet, text = unet.half(), text.half()
    unet.save_pretrained(tmp_path / "base" / "unet", variant=variant, max_shard_size=shard)
    text.save_pretrained(tmp_path / "base" / "text_encoder", variant=variant, max_shard_size=shard)
    states = {f"unet.{name}": tensor for name, tensor in unet.state_dict().items()} | canonical(text, "text_encoder")
    weights = open_weights(tmp_path / "base", architecture_of_folder(tmp_path / "base", "tiny"))
    check_values(weights, states)
    assert (len(weights.files) > 2) == (shard == "20KB")
    assert weights.dtype_tag("unet.conv_in") == ("F16" if variant else "F32")


def test_reading_changes_no_file(tmp_path: Path) -> None:
    states = {f"unet.{name}": tensor for name, tensor in small_unet().state_dict().items()}
    save_file({key.removeprefix("unet."): tensor for key, tensor in states.items()}, tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    open_weights(tmp_path / "file", table_of(states)).weight("unet.conv_in").zero_()
    assert (tmp_path / "file").read_bytes() == before
    assert torch.equal(load_file(tmp_path / "file")["conv_in.weight"], states["unet.conv_in.weight"])


def test_two_bases_have_one_content_exactly_when_their_bytes_are_one(tmp_path: Path) -> None:
    table = table_of({"unet.conv_in.weight": torch.zeros(4, 3, 1, 1)})
    contents = []
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        folder = tmp_path / name
        folder.mkdir()
        save_file({"conv_in.weight": torch.full((4, 3, 1, 1), value)}, folder / "same.safetensors")
        contents.append(open_weights(folder / "same.safetensors", table).content)
    assert contents[0] == contents[1] != contents[2]


def test_a_module_of_another_size_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    states = {f"unet.{name}": tensor for name, tensor in small_unet().state_dict().items()}
    save_file({key.removeprefix("unet."): tensor for key, tensor in states.items()}, tmp_path / "file")
    modules = {**table_of(states).modules, "unet.conv_in": ModuleSpec("conv", (8, 9, 3, 3))}
    weights = open_weights(tmp_path / "file", Architecture("other", modules))
    with pytest.raises(MissingModule, match=r"unet.conv_in is \(8, 4, 3, 3\), the table of other has \(8, 9, 3, 3\)"):
        weights.weight("unet.conv_in")
    with pytest.raises(MissingModule, match=r"has no text_encoder\.x"):
        weights.weight("text_encoder.x")
    assert (tmp_path / "file", "conv_in.weight") in weights.carried


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_file({"lora_unet_conv_in.lora_up.weight": torch.zeros(8, 2)}, tmp_path / "vector")
    with pytest.raises(AlgebraError, match="holds no module of sd15"):
        open_weights(tmp_path / "vector", architecture("sd15"))


def test_integers_are_carried_and_never_summed(tmp_path: Path) -> None:
    save_file({"conv_in.weight": torch.zeros(4, 3, 1, 1, dtype=torch.int8)}, tmp_path / "quantised")
    weights = open_weights(tmp_path / "quantised", table_of({"unet.conv_in.weight": torch.zeros(4, 3, 1, 1)}))
    with pytest.raises(AlgebraError, match="I8 cannot be summed"):
        weights.weight("unet.conv_in")
