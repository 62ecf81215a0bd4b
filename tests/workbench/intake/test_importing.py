"""The kind that a file is taken for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from formats import HeaderError, NotAnAdapter
from registry import Registry
from workbench.intake.importing import DISTILLED_LAYERS, identify_file, import_file, kind_of, vector_kind

DISTILLED = ("time_emb_proj", "conv1", "conv2", "proj_in", "ff_net_0_proj", "attn2_to_k")


def kind(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> str:
    """The kind of a vector of these tensors."""
    save_file(tensors, path, metadata=metadata)
    return vector_kind(path)


def test_a_base_folder_is_a_base_and_a_plain_vector_a_style(
    registry: Registry, base_folder: Path, vector_file: Path
) -> None:
    assert kind_of(identify_file(base_folder, registry), base_folder) == "base"
    registry.add(base_folder, kind="base", name="tiny")
    assert kind_of(identify_file(vector_file, registry), vector_file) == "style"


def test_all_layer_types_of_the_unet_at_once_are_the_signature_of_an_acceleration(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    whole = {f"lora_unet_down_{layer}.lora_down.weight": torch.zeros(1) for layer in DISTILLED}
    assert set(DISTILLED) == set(DISTILLED_LAYERS)
    assert kind(path, whole) == "acceleration"
    assert kind(path, {key.replace("_", "."): value for key, value in whole.items()}) == "acceleration"
    assert kind(path, whole, {"ss_network_module": "networks.lora"}) == "style"
    assert kind(path, whole | {"lora_te_q_proj.lora_down.weight": torch.zeros(1)}) == "style"
    for key in whole:
        assert kind(path, {other: value for other, value in whole.items() if other != key}) == "style"


def test_a_file_that_carries_its_recipe_is_a_composition(tmp_path: Path) -> None:
    assert kind(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"tauworks.recipe": "a + b"}) == "composition"


def test_neither_base_nor_vector_is_refused_with_a_way_out(registry: Registry, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(NotAnAdapter, match="--kind other"):
        kind_of(identify_file(tmp_path / "x.safetensors", registry), tmp_path / "x.safetensors")


def test_a_pickle_that_is_called_safetensors_is_refused_with_a_way_to_keep_it_closed(
    registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "style.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(NotAnAdapter, match=r"whatever the name 'style.safetensors' says.*--kind other"):
        import_file(registry, path)
    assert registry.search() == []
    (artifact,) = import_file(registry, path, kind="other").artifacts
    assert artifact.role == "quarantined"


def test_a_vector_that_is_named_like_a_pickle_is_taken_for_what_it_holds(
    registry: Registry, base_folder: Path, vector_file: Path
) -> None:
    registry.add(base_folder, kind="base", name="tiny")
    version = import_file(registry, vector_file.rename(vector_file.with_suffix(".ckpt")))
    assert (version.kind, version.artifacts[0].path, version.artifacts[0].role) == (
        "style",
        "weights.safetensors",
        "weights",
    )


@pytest.mark.parametrize("kind", [None, "style", "other"])
def test_broken_safetensors_are_a_clear_error(registry: Registry, vector_file: Path, kind: str | None) -> None:
    vector_file.write_bytes(vector_file.read_bytes()[:-1])
    with pytest.raises(HeaderError, match="truncated"):
        import_file(registry, vector_file, kind=kind)
    assert registry.search() == []
