import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formats import (
    Architecture,
    FolderError,
    FormatError,
    HeaderError,
    Layout,
    ModuleSpec,
    architecture,
    architecture_of_folder,
    digest,
    factor_keys,
    identify,
    known_architectures,
)

JSON_FIELDS = ["family", "adapter", "layout", "rank", "alpha", "dtype", "modules", "parameters", "hashes", "warnings"]
ADDED_FIELDS = ["kind", "variant", "prediction_type", "broken"]


@pytest.fixture
def small(small_base: Path) -> Architecture:
    return architecture_of_folder(small_base, "small")


def attention(table: Architecture) -> list[str]:
    return [name for name in table.modules if name.startswith("unet.") and "_blocks." in name and ".attn" in name]


def text(table: Architecture, component: str = "text_encoder") -> list[str]:
    return [name for name in table.modules if name.startswith(f"{component}.") and "self_attn" in name]


@pytest.mark.parametrize("name", known_architectures())
@pytest.mark.parametrize("layout", Layout)
def test_an_lcm_lora_of_every_family_is_named_in_every_layout(
    name: str, layout: Layout, write_stripped: Callable, adapter_shapes, lcm_modules
) -> None:
    table = architecture(name)
    modules = lcm_modules(table)
    found = identify(write_stripped(adapter_shapes(table, modules, layout)), hashes=False)
    assert (found.kind, found.family.value, found.architecture) == ("vector", name, name)
    assert found.family.confidence >= 0.9
    assert (found.layout.value, found.layout.confidence) == (layout, 1.0)
    assert (found.adapter.value, found.rank, found.ranks) == ("locon", 1, {1: len(modules)})
    assert found.modules == len(modules)


@pytest.mark.parametrize("name", known_architectures())
def test_a_lora_of_attention_alone_is_called_lora(name: str, write_file: Callable, adapter_shapes) -> None:
    table = architecture(name)
    found = identify(write_file(adapter_shapes(table, attention(table), Layout.DIFFUSERS)))
    assert (found.adapter.value, found.family.value) == ("lora", name)


def test_the_evidence_names_the_cross_attention_width_and_the_count(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sd21")
    found = identify(write_file(adapter_shapes(table, attention(table), Layout.KOHYA)))
    assert found.family.evidence == (
        "all 128 adapted modules are sd21's and every shape fits, cross attention reads 1024 features",
    )


def test_the_order_of_the_keys_does_not_matter(write_file: Callable, adapter_shapes, lcm_modules) -> None:
    table = architecture("sd15")
    shapes = adapter_shapes(table, lcm_modules(table), Layout.KOHYA)
    backwards = dict(reversed(shapes.items()))
    assert identify(write_file(shapes)).family == identify(write_file(backwards, name="b.safetensors")).family


def test_a_vector_of_an_imported_base_is_named_after_it(write_file: Callable, adapter_shapes, small) -> None:
    path = write_file(adapter_shapes(small, attention(small) + text(small), Layout.KOHYA, 4))
    tables = [*map(architecture, known_architectures()), small]
    found = identify(path, architectures=tables)
    assert (found.kind, found.family.value, found.architecture) == ("vector", "small", "small")
    assert found.family.confidence == 0.99


def test_before_its_base_is_imported_it_is_unknown_with_low_confidence(write_file, adapter_shapes, small) -> None:
    found = identify(write_file(adapter_shapes(small, attention(small), Layout.KOHYA, 4)))
    assert (found.kind, found.family.value, found.architecture) == ("vector", "unknown", None)
    assert found.family.confidence < 0.1
    assert "no architecture explains every key" in found.family.evidence[0]
    assert "first that does not fit: unet." in found.family.evidence[0]
    assert found.adapter.value == "lora"


@pytest.mark.parametrize("key", ["lora_unet_nowhere.lora_down.weight", "unet.attention.bias"])
def test_one_key_too_many_takes_confidence_and_the_architecture(key: str, write_file: Callable, adapter_shapes) -> None:
    table = architecture("sd15")
    shapes = adapter_shapes(table, attention(table), Layout.KOHYA)
    whole, more = identify(write_file(shapes)), identify(write_file(shapes | {key: (4, 4)}))
    assert (more.family.value, more.architecture, more.broken) == ("sd15", None, None)
    assert more.family.confidence < whole.family.confidence - 0.05
    assert f"first unknown key: {key.removesuffix('.lora_down.weight')!r}" in more.family.evidence[0]


def test_a_fine_tune_of_a_shipped_base_is_of_that_family(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sd15")
    tables = [table, Architecture("dreamy", dict(table.modules))]
    found = identify(write_file(adapter_shapes(table, attention(table), Layout.KOHYA)), architectures=tables)
    assert found.family.value == "sd15"


def test_a_base_folder_is_named_when_its_whole_table_is_known(small_base: Path, small: Architecture) -> None:
    found = identify(small_base, architectures=[architecture("sd15"), small])
    assert (found.kind, found.family.value, found.architecture) == ("base", "small", "small")
    assert (found.adapter.value, found.layout.value, found.family.confidence) == ("none", "diffusers", 1.0)
    assert found.modules == len(small.modules)
    assert (found.dtype, found.hashes) == ("fp32", None)


def test_a_base_folder_that_differs_in_one_module_is_unknown_and_says_which(small_base: Path, small) -> None:
    wider = {**small.modules, "unet.conv_in": ModuleSpec("conv", (64, 9, 3, 3))}
    found = identify(small_base, architectures=[Architecture("inpainting", wider)])
    assert (found.kind, found.family.value, found.architecture) == ("base", "unknown", None)
    assert "nearest is inpainting with 1 modules that differ, first unet.conv_in" in found.family.evidence[0]


def test_ranks_and_alphas_that_vary_have_no_single_value(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sd15")
    first, second = attention(table)[:2]
    shapes = adapter_shapes(table, [first], Layout.KOHYA, 4) | adapter_shapes(table, [second], Layout.KOHYA, 8)
    keys = [factor_keys(Layout.KOHYA, module, table).alpha for module in (first, second)]
    shapes |= dict.fromkeys(keys, ())
    values = {key: struct.pack("<f", alpha) for key, alpha in zip(keys, (2, 3), strict=True)}
    found = identify(write_file(shapes, alphas=values))
    assert (found.rank, found.ranks, found.alpha) == (None, {4: 1, 8: 1}, None)
    same = identify(write_file(shapes, alphas=dict.fromkeys(keys, struct.pack("<f", 2))))
    assert same.alpha == 2


def test_alpha_comes_from_a_peft_folders_configuration(write_file: Callable, adapter_shapes, tmp_path: Path) -> None:
    table = architecture("sd15")
    shapes = adapter_shapes(table, attention(table), Layout.PEFT, 8)
    bare = write_file(shapes, name="bare.safetensors")
    folder = write_file(shapes, name="folder/adapter_model.safetensors").parent
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 24, "peft_type": "LORA"}))
    assert (identify(folder).alpha, identify(folder).warnings) == (24, ())
    assert identify(bare).alpha == 8
    assert "PEFT keys without adapter_config.json" in identify(bare).warnings[0]


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("lora", {"lora_down.weight": (4, 1280), "lora_up.weight": (1280, 4)}),
        ("lora+dora", {"lora_down.weight": (4, 1280), "lora_up.weight": (1280, 4), "dora_scale": (1280, 1)}),
        ("loha", {f"hada_w{i}_{side}": (1280, 4) if side == "a" else (4, 1280) for i in (1, 2) for side in "ab"}),
        ("lokr", {"lokr_w1": (32, 32), "lokr_w2": (40, 40)}),
        ("lokr", {"lokr_w1_a": (32, 2), "lokr_w1_b": (2, 32), "lokr_w2": (40, 40)}),
        ("lokr", {"lokr_w1": (32, 32), "lokr_w2_a": (40, 2), "lokr_w2_b": (2, 40)}),
        ("lokr", {"lokr_w1_a": (32, 2), "lokr_w1_b": (2, 32), "lokr_w2_a": (40, 2), "lokr_w2_b": (2, 40)}),
        ("glora", {"a1.weight": (4, 1280), "a2.weight": (1280, 4), "b1.weight": (4, 1280), "b2.weight": (1280, 4)}),
        ("oft", {"oft_blocks": (4, 320, 320), "rescale": (1280, 1)}),
        ("boft", {"oft_blocks": (2, 4, 320, 320)}),
        ("ia3", {"weight": (1280,), "on_input": ()}),
        ("full", {"diff": (1280, 1280), "diff_b": (1280,)}),
        (
            "loha+dora",
            {f"hada_w{i}_{side}": (1280, 4) if side == "a" else (4, 1280) for i in (1, 2) for side in "ab"}
            | {"dora_scale": (1, 1280)},
        ),
    ],
)
def test_every_kind_is_named_by_its_marks_and_its_family_found(kind: str, pieces: dict, write_file: Callable) -> None:
    stem = "lora_unet_mid_block_resnets_0_time_emb_proj"
    shapes = {f"{stem}.{end}": shape for end, shape in pieces.items()}
    found = identify(write_file(shapes), architectures=[architecture("sd15")])
    assert (found.adapter.value, found.adapter.confidence) == (kind, 1.0)
    assert (found.kind, found.family.value, found.modules) == ("vector", "sd15", 1)


def test_a_file_without_an_adapters_marks_is_unknown_with_the_reason(write_file: Callable, small_base: Path) -> None:
    picture = identify(write_file({"conv.weight": (3, 3), "conv.bias": (3,)}))
    assert (picture.kind, picture.family.value, picture.adapter.value) == ("unknown", "unknown", "unknown")
    assert picture.warnings == ("none of its 2 keys carries an adapter's mark, e.g. 'conv.bias'",)
    checkpoint = identify(write_file({"model.diffusion_model.out.2.weight": (4, 320, 3, 3)}))
    assert "a whole checkpoint" in checkpoint.warnings[0]
    assert identify(small_base / "vae" / "diffusion_pytorch_model.safetensors").kind == "unknown"
    assert identify(write_file({})).warnings == ("holds no tensor",)


def test_an_adapter_of_another_kind_of_network_is_unknown_with_the_reason(write_file: Callable) -> None:
    stem = "transformer.single_transformer_blocks.0.attn.to_q"
    found = identify(write_file({f"{stem}.lora_A.weight": (4, 3072), f"{stem}.lora_B.weight": (3072, 4)}))
    assert (found.kind, found.family.value, found.adapter.value) == ("unknown", "unknown", "lora")
    assert found.family.evidence == (f"none of its 1 modules is named in {', '.join(known_architectures())}",)
    assert "not an adapter of a known base" in found.warnings[0]


def test_names_that_only_look_like_old_diffusers_are_no_adapter(write_file: Callable) -> None:
    assert identify(write_file({"mlp.down.weight": (4, 8), "mlp.up.weight": (8, 4)})).kind == "unknown"


def test_sizes_dtype_and_hashes_are_those_of_the_file(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sd15")
    module = attention(table)[0]
    out, inside = table.modules[module].shape
    path = write_file(adapter_shapes(table, [module], Layout.KOHYA, 3), dtype="BF16")
    found = identify(path)
    assert (found.dtype, found.parameters, found.hashes) == ("bf16", 3 * (out + inside), digest(path))


def test_the_json_has_exactly_the_documented_fields(write_file: Callable, adapter_shapes, small_base: Path) -> None:
    table = architecture("sd15")
    path = write_file(adapter_shapes(table, attention(table), Layout.KOHYA))
    for found in (identify(path), identify(small_base), identify(write_file({}, name="empty.safetensors"))):
        document = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert list(document) == [*JSON_FIELDS, *ADDED_FIELDS]
        findings = [*JSON_FIELDS[:3], *ADDED_FIELDS[1:3]]
        assert all(list(document[field]) == ["value", "confidence", "evidence"] for field in findings)


def test_a_truncated_file_an_absent_one_and_a_strange_folder_are_errors(
    write_file: Callable, adapter_shapes, tmp_path: Path, small_base: Path
) -> None:
    path = write_file(adapter_shapes(architecture("sd15"), ["unet.conv_in"], Layout.KOHYA))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HeaderError, match="truncated"):
        identify(path)
    with pytest.raises(HeaderError, match="cannot be read"):
        identify(tmp_path / "absent.safetensors")
    with pytest.raises(FolderError, match="neither a base"):
        identify(tmp_path)
    shutil.copytree(small_base, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(FolderError, match="no safetensors weights"):
        identify(tmp_path / "base")


ENDS = [
    "lora_down.weight",
    "lora_up.weight",
    "alpha",
    "lora_A.weight",
    "hada_w1_a",
    "hada_w1_b",
    "lokr_w1",
    "lokr_w2_a",
]
STEMS = ["lora_unet_conv_in", "unet.conv_in", "base_model.model.text_model.embeddings.token_embedding", "", "x.lora"]
KEYS = st.builds(
    "{}.{}".format, st.sampled_from(STEMS), st.sampled_from([*ENDS, "diff", "oft_blocks", "weight", "lokr_t2"])
)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shapes=st.dictionaries(KEYS, st.lists(st.integers(0, 4), max_size=5).map(tuple), max_size=6),
    metadata=st.dictionaries(st.sampled_from(["lora_adapter_metadata", "ss_base_model_version"]), st.text(max_size=8)),
)
def test_keys_of_any_shapes_and_any_metadata_raise_nothing_but_a_format_error(shapes, metadata, write_file) -> None:
    try:
        found = identify(write_file(shapes, metadata=metadata))
    except FormatError:
        return
    assert 0 <= found.family.confidence <= 1
