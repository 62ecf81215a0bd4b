"""What is proved of files whose ranks were lowered, of methods, and of what another tool made of the same inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from arithmetic import BoundExceeded, Certificate, Combination, Vector, bind, certify, open_vector, parse, verify
from formats import Architecture, Layout, ModuleSpec

MODULES = ("unet.conv_in", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k")
STEMS = ("lora_unet_conv_in", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k")
UP, DOWN = f"{STEMS[1]}.lora_up.weight", f"{STEMS[1]}.lora_down.weight"


@pytest.fixture(scope="module")
def opened(workshop: Any) -> dict[str, Vector]:
    """Two vectors of two modules, of rank 4 and 3."""
    return {
        name: workshop.opened(workshop.draft(seed, MODULES, ranks=(rank,), alphas=(2.0,)))
        for name, seed, rank in (("a", 0, 4), ("b", 1, 3))
    }


@pytest.fixture
def proved(opened: dict[str, Vector], workshop: Any) -> Callable[[Path, str], Certificate]:
    """proved(path, text) -> the certificate of a file against a recipe."""
    return lambda path, text: verify(path, workshop.bound(text, **opened).combination)


def changed(path: Path, change: Callable[[dict[str, torch.Tensor]], object], to: Path) -> Path:
    """A copy of a file without a certificate beside it."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, to, metadata)
    return to


def dense(opened: dict[str, Vector], module: str) -> torch.Tensor:
    """a + b."""
    return sum(vector.delta(module).dense() for vector in opened.values())


def save_factors(factors: dict[str, tuple[torch.Tensor, torch.Tensor]], path: Path) -> Path:
    """A kohya file without alphas of (m, k) and (k, N)."""
    tensors = {}
    for stem, module in zip(STEMS, MODULES, strict=True):
        up, down = factors[module]
        is_conv = module == MODULES[0]
        tensors[f"{stem}.lora_up.weight"] = up.float().reshape(*up.shape, *((1, 1) if is_conv else ()))
        tensors[f"{stem}.lora_down.weight"] = down.float().reshape((-1, 4, 3, 3) if is_conv else (-1, 7))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize(
    "text", ["a + b | rank(2)", "a + b | energy(0.8)", "a + b | error(0.3)", "a + b | rank(5) | error(0.3)"]
)
def test_the_approximation_error_is_the_dense_one(
    text: str, opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    path = workshop.composed(text, **opened)
    proof = proved(path, text)
    for module, delta in workshop.read(path).items():
        exact = dense(opened, module).numpy()
        expected = np.linalg.norm(delta - exact) / np.linalg.norm(exact)
        assert proof.approximations[module] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert proof.worst_approximation_error == max(proof.approximations.values())
    assert proof.worst_relative_error < 1e-6


def test_an_exact_sum_and_a_rank_that_lowers_nothing_have_no_approximation(
    opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    for text in ("a + b", "a + b | rank(7)"):
        assert proved(workshop.composed(text, **opened), text).approximations == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[UP].mul_(1.0001),
        lambda t: t[DOWN].mul_(torch.linspace(1, 1.001, 7)),
        lambda t: t[UP][:, 0].neg_(),
        lambda t: t[UP][:, 1].zero_(),
        lambda t: t.update({UP: t[UP].roll(1, dims=0)}),
        lambda t: t[f"{STEMS[1]}.alpha"].mul_(0.5),
    ],
    ids=["scaled a little", "down bent", "a sign", "a direction dropped", "rows moved", "alpha"],
)
def test_a_reduced_file_whose_factor_was_changed_is_found(
    change: Callable, opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    path = changed(workshop.composed("a + b | rank(2)", **opened), change, workshop.place())
    with pytest.raises(BoundExceeded, match=MODULES[1]):
        proved(path, "a + b | rank(2)")


@pytest.mark.parametrize(
    ("made", "claimed"),
    [
        ("a + b | rank(3)", "a + b | rank(2)"),
        ("a + b", "a + b | rank(2)"),
        ("a + b | rank(2)", "a + b"),
        ("a + b | rank(1)", "a + b | energy(0.95)"),
        ("a + b | rank(1)", "a + b | error(0.1)"),
        ("a + b | rank(1)", "a + b | rank(4) | error(0.1)"),
        ("a + b | rank(2)", "a + 0.999*b | rank(2)"),
        ("(a | rank(2)) + b", "(a | rank(1)) + b"),
    ],
)
def test_a_file_that_does_not_keep_to_the_stages_is_found(
    made: str, claimed: str, opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    path = changed(workshop.composed(made, **opened), lambda _: None, workshop.place())
    with pytest.raises(BoundExceeded):
        proved(path, claimed)


def test_stages_that_undo_each_other_are_proved_by_the_optimum_of_both(
    opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    """A rank of 1 keeps less than 99 percent of the energy: the recipe asks for both, in this order."""
    for text in ("a + b | energy(0.99) | rank(1)", "a + b | rank(1) | energy(0.99)"):
        assert proved(workshop.composed(text, **opened), text).worst_approximation_error > 0.2
    worse = _in_a_random_range(opened, 1, workshop.place())
    with pytest.raises(BoundExceeded, match="EnergyKept"):
        proved(worse, "a + b | energy(0.99) | rank(1)")


@pytest.mark.parametrize(("dtype", "bound"), [("fp16", 1e-4), ("bf16", 1e-3), ("bf16", 0.01)])
def test_a_bound_finer_than_the_files_dtype_is_met_as_far_as_the_dtype_can(
    dtype: str, bound: float, opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    text = f"a + b | error({bound}) | dtype({dtype})"
    assert proved(workshop.composed(text, **opened), text).worst_approximation_error < 2e-2


def test_a_rank_that_is_not_the_best_one_is_proved_with_its_own_error(
    opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    """rank(N) bounds the rank alone: the certificate shows how far from the best the file is."""
    best = proved(workshop.composed("a + b | rank(2)", **opened), "a + b | rank(2)")
    other = proved(_in_a_random_range(opened, 2, workshop.place()), "a + b | rank(2)")
    for module in MODULES:
        assert other.approximations[module] > best.approximations[module] * 1.05
    with pytest.raises(BoundExceeded, match="do not keep to"):
        proved(_in_a_random_range(opened, 2, workshop.place()), "a + b | error(0.2)")


def _in_a_random_range(opened: dict[str, Vector], rank: int, path: Path) -> Path:
    """Q Q^T (a + b) for random orthonormal columns Q."""
    generator, factors = torch.Generator().manual_seed(0), {}
    for module in MODULES:
        total = dense(opened, module)
        columns = torch.linalg.qr(torch.randn(len(total), rank, generator=generator, dtype=torch.float64)).Q
        factors[module] = (columns, columns.T @ total)
    return save_factors(factors, path)


@pytest.mark.parametrize(
    "text", ["tsv(a, 0.5*b)", "dare(a, b; seed=3) | rank(9)", "0.3*(ties(a, b) | rank(2)) + b", "peft-linear(a, 0.5*b)"]
)
def test_what_a_method_made_is_made_again_for_the_proof(text: str, workshop: Any) -> None:
    opened = {n: workshop.opened(workshop.draft(s, MODULES, ranks=(3,), alphas=(2.0,))) for s, n in enumerate("ab")}
    combination, path = workshop.bound(text, **opened).combination, workshop.composed(text, **opened)
    assert verify(path, combination).worst_relative_error < 1e-6
    bent = changed(path, lambda tensors: tensors[UP].mul_(1.0001), workshop.place())
    with pytest.raises(BoundExceeded, match=MODULES[1]):
        verify(bent, combination)


def test_another_seed_is_another_file(opened: dict[str, Vector], workshop: Any, proved: Callable) -> None:
    path = changed(workshop.composed("dare(a, b; seed=3) | rank(9)", **opened), lambda _: None, workshop.place())
    with pytest.raises(BoundExceeded):
        proved(path, "dare(a, b; seed=4) | rank(9)")


def test_a_file_that_kohyas_kind_of_svd_made_is_proved_and_a_clamped_one_is_found(
    opened: dict[str, Vector], workshop: Any, proved: Callable
) -> None:
    """U S and V^T of the dense sum; kohya then clamps both to their 0.99 quantile (svd_merge_lora.py, 371-376)."""
    plain, clamped = {}, {}
    for module in MODULES:
        u, sigma, vt = torch.linalg.svd(dense(opened, module), full_matrices=False)
        up, down = u[:, :3] * sigma[:3], vt[:3]
        limit = torch.quantile(torch.cat([up.flatten(), down.flatten()]), 0.99)
        plain[module], clamped[module] = (up, down), (up.clamp(-limit, limit), down.clamp(-limit, limit))
    path = save_factors(plain, workshop.place())
    assert proved(path, "a + b | rank(3)").worst_relative_error < 1e-6
    with pytest.raises(BoundExceeded):
        proved(save_factors(clamped, workshop.place()), "a + b | rank(3)")


class Block(torch.nn.Module):
    """Two layers that PEFT adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_in = torch.nn.Linear(6, 8)
        self.proj_out = torch.nn.Linear(8, 6)


@pytest.mark.parametrize(("kind", "ranks"), [("cat", (3, 2)), ("svd", (3, 2)), ("linear", (3, 3))])
@pytest.mark.filterwarnings("ignore:.*Found missing adapter keys.*", "ignore:.*Could not find a config file.*")
def test_what_peft_itself_saves_of_the_same_adapters_is_judged(
    kind: str, ranks: tuple[int, int], tmp_path: Path
) -> None:
    """Its concatenation and its decomposition are the sum; its linear sum has cross terms and is found."""
    table = Architecture(
        "block", {"unet.proj_in": ModuleSpec("linear", (8, 6)), "unet.proj_out": ModuleSpec("linear", (6, 8))}
    )
    torch.manual_seed(0)
    targets, alpha = ["proj_in", "proj_out"], 4
    configs = [LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights=False) for rank in ranks]
    model = get_peft_model(Block(), configs[0], adapter_name="style")
    model.add_adapter("pace", configs[1])
    model.add_weighted_adapter(["style", "pace"], [0.7, 1.2], "merged", combination_type=kind, svd_rank=4)
    model.save_pretrained(str(tmp_path))
    merged = tmp_path / "merged"
    opened = [open_vector(tmp_path / name, table) for name in ("style", "pace")]
    combination = _sum(opened, 4 if kind == "svd" else None)
    if kind == "linear":
        with pytest.raises(BoundExceeded, match="arithmetic error"):
            certify(merged, combination)
    else:
        proof = certify(merged, combination, layout=Layout.PEFT)
        assert proof.worst_relative_error < 1e-6
        assert set(proof.modules) == set(table.modules)


def _sum(vectors: list[Vector], rank: int | None) -> Combination | None:
    text = "0.7*a + 1.2*b" + (f" | rank({rank})" if rank else "")
    return bind(parse(text), dict(zip("ab", vectors, strict=True))).combination
