from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from arithmetic import (
    BoundExceeded,
    Certificate,
    CertificateMismatch,
    Combination,
    certificate_path,
    certify,
    compose,
    open_vector,
    verify,
)
from formats import Architecture, Layout

FIRST_UP = "lora_unet_conv_in.lora_up.weight"


@pytest.fixture
def combination(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Combination:
    """0.8 * a - 0.5 * b, mixed ranks and alphas."""
    a = open_vector(save(draft(0), tmp_path / "a"), table)
    b = open_vector(save(draft(1, ranks=(2, 5), alphas=(1.0, 7.0)), tmp_path / "b"), table)
    return Combination(((0.8, a), (-0.5, b)))


@pytest.fixture
def written(combination: Combination, tmp_path: Path) -> Path:
    """The composed kohya file."""
    compose(combination, tmp_path / "out", recipe="0.8*a - 0.5*b", locked="0.8*sha256:00 - 0.5*sha256:11")
    return tmp_path / "out"


def rewritten(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def test_a_certificate_survives_its_json(written: Path) -> None:
    text = certificate_path(written).read_text()
    assert Certificate.from_json(text).to_json() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": []}'])
def test_a_text_that_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(CertificateMismatch, match="not a certificate"):
        Certificate.from_json(text)


def test_it_names_the_recipe_and_every_input(written: Path, combination: Combination) -> None:
    certificate = Certificate.from_json(certificate_path(written).read_text())
    assert certificate.recipe == "0.8*a - 0.5*b"
    assert certificate.locked == "0.8*sha256:00 - 0.5*sha256:11"
    assert [(i["name"], i["weight"], i["sha256"]) for i in certificate.inputs] == [
        (vector.name, weight, vector.sha256) for weight, vector in combination.terms
    ]


def test_its_error_is_that_of_a_dense_float64_computation(
    written: Path, combination: Combination, read_deltas: Callable, worst_error: Callable
) -> None:
    """Random probes estimate the Frobenius norms: the two figures agree to a small factor."""
    dense = worst_error(read_deltas(written), [(weight, read_deltas(v.path)) for weight, v in combination.terms])
    proved = certify(written, combination, probes=256).worst_relative_error
    assert 0 < dense < 1e-6
    assert proved == pytest.approx(dense, rel=0.3)


def test_verify_proves_it_again(written: Path, combination: Combination) -> None:
    kept = Certificate.from_json(certificate_path(written).read_text())
    assert verify(written, combination) == kept


def test_verify_needs_no_certificate_beside_the_file(written: Path, combination: Combination) -> None:
    certificate_path(written).unlink()
    assert verify(written, combination).worst_relative_error < 1e-6


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors[FIRST_UP].mul_(1.00001),
        lambda tensors: tensors[FIRST_UP].neg_(),
        lambda tensors: tensors[FIRST_UP].fill_(float("nan")),
        lambda tensors: tensors["lora_unet_conv_in.alpha"].mul_(2),
        lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("lora_unet_conv_in")],
    ],
    ids=["scaled a little", "sign", "nan", "alpha", "module dropped"],
)
def test_any_change_of_the_file_is_found(
    change: Callable[[dict[str, torch.Tensor]], object], written: Path, combination: Combination
) -> None:
    rewritten(written, change)
    with pytest.raises(BoundExceeded, match=r"unet\.conv_in"):
        verify(written, combination)


def test_a_module_that_no_input_has_is_found(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path, written: Path
) -> None:
    few = open_vector(save(draft(0, modules=tuple(table.modules)[:3]), tmp_path / "few"), table)
    with pytest.raises(BoundExceeded, match="in none of the inputs"):
        certify(written, Combination(((1.0, few),)))


def test_other_weights_are_found(written: Path, combination: Combination) -> None:
    (_, a), (_, b) = combination.terms
    with pytest.raises(BoundExceeded):
        verify(written, Combination(((0.8001, a), (-0.5, b))))


def test_other_bytes_with_the_same_meaning_do_not_pass_as_the_certified_file(
    written: Path, combination: Combination
) -> None:
    tensors = load_file(written)
    save_file(tensors, written)
    with pytest.raises(CertificateMismatch, match="file"):
        verify(written, combination)


def test_the_probes_are_seeded(written: Path, combination: Combination) -> None:
    first, again, other = (certify(written, combination, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.modules != other.modules


def test_a_diffusers_file_is_certified_too(combination: Combination, tmp_path: Path) -> None:
    proof = compose(combination, tmp_path / "d", layout=Layout.DIFFUSERS, recipe="r", locked="l")
    assert proof.layout == "diffusers"
    assert set(proof.modules) == set(combination.architecture.modules)
