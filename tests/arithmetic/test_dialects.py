"""Other tools' sums, against the tools themselves where they can be installed and dense float64 formulas where not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from arithmetic import (
    DIALECTS,
    Combination,
    Dialect,
    MethodRefused,
    combine_module,
    dialect_errors,
    dialect_outcomes,
    migrated,
    open_vector,
    plan,
)
from arithmetic.methods import tool_sum
from formats import Architecture, ModuleSpec

NAMES = ("unet.conv_in", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q")
SETTINGS = [((1.0, 0.8), (4.0, 4.0)), ((0.8, -0.5), (2.0, 6.0)), ((0.5, 1.0), (8.0, 1.0)), ((-1.0, 1.5), (4.0, 3.0))]


class Pair:
    """Two drafts of equal rank 4 with their own alphas, and their combination."""

    def __init__(self, draft: Callable, save: Callable, table: Architecture, folder: Path) -> None:
        self.draft, self.save, self.table, self.folder = draft, save, table, folder

    def combined(
        self, weights: tuple[float, ...], alphas: tuple[float, ...], modules: tuple[str, ...] = NAMES
    ) -> Combination:
        self.drawn = [self.draft(i, modules, ranks=(4,), alphas=(alpha,)) for i, alpha in enumerate(alphas)]
        paths = [self.save(drawn, self.folder / f"v{i}") for i, drawn in enumerate(self.drawn)]
        return Combination(tuple((w, open_vector(path, self.table)) for w, path in zip(weights, paths, strict=True)))


@pytest.fixture
def pair(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Pair:
    return Pair(draft, save, table, tmp_path)


def matrices(pair: Pair, module: str) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """(B, A, alpha) of each draft in float64."""
    factors = [drawn.factors[module] for drawn in pair.drawn]
    return [(up.double().flatten(1).numpy(), down.double().flatten(1).numpy(), alpha) for up, down, alpha in factors]


def relative(made: dict[str, np.ndarray], pair: Pair, weights: tuple[float, ...]) -> float:
    """||made - truth||_F / ||truth||_F over all modules."""
    truth = {m: sum(w * d.deltas()[m] for w, d in zip(weights, pair.drawn, strict=True)) for m in made}
    error = sum(np.linalg.norm(made[m] - truth[m]) ** 2 for m in made)
    return float(np.sqrt(error / sum(np.linalg.norm(truth[m]) ** 2 for m in made)))


def summed_by_peft(pair: Pair, weights: tuple[float, ...], combination_type: str) -> dict[str, np.ndarray]:
    """What PEFT itself makes of the drafts on a network of one convolution and one linear layer."""
    conv, linear = (pair.table.modules[module].shape for module in NAMES)
    network = nn.ModuleDict({"a": nn.Conv2d(conv[1], conv[0], 3), "b": nn.Linear(linear[1], linear[0])})
    model: PeftModel | None = None
    for i, drawn in enumerate(pair.drawn):
        config = LoraConfig(r=4, lora_alpha=drawn.factors[NAMES[0]][2], target_modules=["a", "b"])
        if model is None:
            model = get_peft_model(network, config, adapter_name="v0")
        else:
            model.add_adapter(f"v{i}", config)
        for module, layer in zip(NAMES, network.values(), strict=True):
            layer.lora_B[f"v{i}"].weight.data.copy_(drawn.factors[module][0])
            layer.lora_A[f"v{i}"].weight.data.copy_(drawn.factors[module][1])
    names = [f"v{i}" for i in range(len(weights))]
    model.base_model.add_weighted_adapter(names, list(weights), "sum", combination_type=combination_type)
    deltas = (layer.get_delta_weight("sum").detach().double().flatten(1).numpy() for layer in network.values())
    return dict(zip(NAMES, deltas, strict=True))


@pytest.mark.parametrize(("weights", "alphas"), SETTINGS)
def test_pefts_linear_sum_is_what_peft_itself_computes(
    weights: tuple[float, ...], alphas: tuple[float, ...], pair: Pair
) -> None:
    combination = pair.combined(weights, alphas)
    made = summed_by_peft(pair, weights, "linear")
    assert dialect_errors(combination)["peft-linear"] == pytest.approx(relative(made, pair, weights), rel=1e-4)


@pytest.mark.parametrize(("weights", "alphas"), SETTINGS)
def test_pefts_concatenation_agrees_with_the_exact_sum(
    weights: tuple[float, ...], alphas: tuple[float, ...], pair: Pair
) -> None:
    combination = pair.combined(weights, alphas)
    made = summed_by_peft(pair, weights, "cat")
    for module in plan(combination).modules:
        up, down = combine_module(module).matrices()
        np.testing.assert_allclose((up @ down).numpy(), made[module.module], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("weights", "alphas"), SETTINGS)
def test_kohyas_merge_is_its_published_formula(
    weights: tuple[float, ...], alphas: tuple[float, ...], pair: Pair
) -> None:
    """scale = sqrt(alpha / alpha_0) * ratio on down, its absolute value on up; alpha_0 is kept."""
    combination = pair.combined(weights, alphas)
    made = {}
    for module in NAMES:
        parts = matrices(pair, module)
        scales = [np.sqrt(alpha / parts[0][2]) * w for w, (_, _, alpha) in zip(weights, parts, strict=True)]
        up = sum(abs(scale) * b for scale, (b, _, _) in zip(scales, parts, strict=True))
        down = sum(scale * a for scale, (_, a, _) in zip(scales, parts, strict=True))
        made[module] = parts[0][2] / 4 * up @ down
    assert dialect_errors(combination)["kohya-merge"] == pytest.approx(relative(made, pair, weights), rel=1e-9)


@pytest.mark.parametrize(("weights", "alphas"), SETTINGS)
def test_kohyas_concatenation_is_its_published_formula(
    weights: tuple[float, ...], alphas: tuple[float, ...], pair: Pair
) -> None:
    """The scales of the merge on concatenated factors; alpha_0 over the new rank."""
    combination = pair.combined(weights, alphas)
    made = {}
    for module in NAMES:
        parts = matrices(pair, module)
        scales = [np.sqrt(alpha / parts[0][2]) * w for w, (_, _, alpha) in zip(weights, parts, strict=True)]
        up = np.concatenate([abs(scale) * b for scale, (b, _, _) in zip(scales, parts, strict=True)], axis=1)
        down = np.concatenate([scale * a for scale, (_, a, _) in zip(scales, parts, strict=True)])
        made[module] = parts[0][2] / 8 * up @ down
    assert dialect_errors(combination)["kohya-concat"] == pytest.approx(relative(made, pair, weights), rel=1e-9)


@pytest.mark.parametrize(("weights", "alphas"), SETTINGS)
def test_the_old_svd_applied_the_scale_twice(weights: tuple[float, ...], alphas: tuple[float, ...], pair: Pair) -> None:
    combination = pair.combined(weights, alphas)
    made = {
        module: sum(
            w * (alpha / 4) ** 2 * b @ a for w, (b, a, alpha) in zip(weights, matrices(pair, module), strict=True)
        )
        for module in NAMES
    }
    expected = relative(made, pair, weights)
    assert dialect_errors(combination)["peft-svd-pre3111"] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_independent_vectors_lose_about_the_norm_of_the_answer(draft: Callable, save: Callable, tmp_path: Path) -> None:
    """Cross terms of independent factors of equal norm: 0.99 for PEFT, 0.89 for kohya, 0.54 concatenated."""
    wide = Architecture("wide", {NAMES[1]: ModuleSpec("linear", (1280, 1280))})
    drawn = [draft(i, (NAMES[1],), ranks=(64,), alphas=(64.0,), architecture=wide) for i in range(2)]
    a, b = (open_vector(save(one, tmp_path / f"v{i}"), wide) for i, one in enumerate(drawn))
    errors = dialect_errors(Combination(((1.0, a), (0.8, b))))
    assert errors["peft-linear"] == pytest.approx(0.99, abs=0.01)
    assert errors["kohya-merge"] == pytest.approx(0.89, abs=0.01)
    assert errors["kohya-concat"] == pytest.approx(0.54, abs=0.01)
    assert errors["supermerger"] == pytest.approx(errors["kohya-merge"])


def test_one_vector_at_weight_one_is_right_in_both_merges(pair: Pair) -> None:
    errors = dialect_errors(pair.combined((1.0,), (2.0,)))
    assert errors["peft-linear"] == pytest.approx(0, abs=1e-7)
    assert errors["kohya-merge"] == pytest.approx(0, abs=1e-7)


def test_a_weight_of_one_half_becomes_a_quarter_in_kohyas_merge(pair: Pair) -> None:
    assert dialect_errors(pair.combined((0.5,), (2.0,)))["kohya-merge"] == pytest.approx(0.5)


def test_factor_space_sums_depend_on_the_gauge(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    """The same vector with its rank reversed is the same vector; the linear merge gives another result."""
    drawn = [draft(i, NAMES, ranks=(4,), alphas=(4.0,)) for i in range(2)]
    turned = type(drawn[0])({m: (up.flip(1), down.flip(0), alpha) for m, (up, down, alpha) in drawn[0].factors.items()})
    a, b, c = (open_vector(save(one, tmp_path / f"v{i}"), table) for i, one in enumerate((*drawn, turned)))
    first, second = (dialect_errors(Combination(((1.0, one), (0.8, b)))) for one in (a, c))
    assert abs(first["peft-linear"] - second["peft-linear"]) > 1e-3
    assert first["kohya-concat"] == pytest.approx(second["kohya-concat"])


def test_unequal_ranks_are_refused_by_the_tools_that_add_factors(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    a, b = (open_vector(save(draft(i, NAMES, ranks=(2 + i,)), tmp_path / f"v{i}"), table) for i in range(2))
    outcomes = dialect_outcomes(Combination(((1.0, a), (1.0, b))))
    assert [outcome.dialect for outcome in outcomes] == list(DIALECTS)
    refused = {outcome.dialect.name: outcome.refusal for outcome in outcomes if outcome.refusal}
    assert refused == dict.fromkeys(
        ("peft-linear", "kohya-merge", "supermerger"), "refuses unequal ranks (unet.conv_in: 2 and 3)"
    )
    assert set(dialect_errors(Combination(((1.0, a), (1.0, b))))) == {
        "kohya-concat",
        "peft-svd-pre3111",
        "supermerger-svd",
    }


def test_three_terms_are_summed_too(pair: Pair) -> None:
    weights, alphas = (1.0, 0.8, -0.3), (4.0, 2.0, 1.0)
    combination = pair.combined(weights, alphas)
    made = {}
    for module in NAMES:
        c = [w * alpha / 4 for w, (_, _, alpha) in zip(weights, matrices(pair, module), strict=True)]
        up = sum(np.sqrt(abs(ci)) * b for ci, (b, _, _) in zip(c, matrices(pair, module), strict=True))
        down = sum(np.sign(ci) * np.sqrt(abs(ci)) * a for ci, (_, a, _) in zip(c, matrices(pair, module), strict=True))
        made[module] = up @ down
    assert dialect_errors(combination)["peft-linear"] == pytest.approx(relative(made, pair, weights), rel=1e-9)


def test_nothing_at_all_has_no_relative_error(pair: Pair) -> None:
    combination = pair.combined((0.0, 0.0), (4.0, 4.0))
    assert set(dialect_errors(combination).values()) == {float("inf")}


def test_a_term_of_weight_zero_still_weakens_kohyas_concatenation(pair: Pair) -> None:
    """Its rank is counted: what should be 1.0 of the first becomes a half."""
    assert dialect_errors(pair.combined((1.0, 0.0), (4.0, 4.0)))["kohya-concat"] == pytest.approx(0.5)


def test_ranks_beyond_the_modules_size_are_measured_all_the_same(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    """700 in a layer of 10 by 10: Gram matrices of 700 by 700 would be larger than the layer."""
    drawn = [draft(i, NAMES[1:], ranks=(700,), alphas=(9.0,)) for i in range(2)]
    a, b = (open_vector(save(one, tmp_path / f"v{i}"), table) for i, one in enumerate(drawn))
    (up, down, _), (other_up, other_down, _) = (
        [np.asarray(x) for x in (f[0].double(), f[1].double(), f[2])] for f in (d.factors[NAMES[1]] for d in drawn)
    )
    truth = up @ down + 0.8 * other_up @ other_down
    made = (up + np.sqrt(0.8) * other_up) @ (down + np.sqrt(0.8) * other_down)
    expected = np.linalg.norm(made - truth) / np.linalg.norm(truth)
    errors = dialect_errors(Combination(((1.0, a), (0.8, b))))
    assert errors["peft-linear"] == pytest.approx(expected, rel=1e-9)


def test_alphas_of_two_signs_are_a_refusal_that_names_the_module(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    a, b = (draft(i, NAMES, ranks=(3,), alphas=(alpha,)) for i, alpha in enumerate((2.0, -1.0)))
    opened = [open_vector(save(one, tmp_path / f"v{i}"), table) for i, one in enumerate((a, b))]
    outcomes = dialect_outcomes(Combination(tuple((1.0, vector) for vector in opened)))
    refused = {outcome.dialect.name: outcome.refusal for outcome in outcomes if outcome.refusal}
    sentence = "refuses alphas without a real sqrt(alpha / alpha_0) (unet.conv_in: 2 and -1)"
    assert refused == dict.fromkeys(("kohya-merge", "kohya-concat", "supermerger"), sentence)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("weights", [(1.0, 0.8, -0.3), (0.5, -1.2, 0.0)])
def test_a_migrated_recipe_is_the_tools_file_but_for_its_cross_terms(
    pair: Pair, dialect: Dialect, weights: tuple[float, ...]
) -> None:
    """Densely: ||file - sum of migrated weights|| / ||file||."""
    combination = pair.combined(weights, (4.0, 2.0, 1.0))
    migration = migrated(dialect, combination)
    distance = norm = 0.0
    for module in NAMES:
        parts = [(weight, vector.factors(module)) for weight, vector in combination.terms]
        file = tool_sum(dialect, parts).dense()
        terms = zip(migration.terms, parts, strict=True)
        recipe = sum(term.weight * term.factors.get(module, 1.0) * factors.dense() for term, (_, factors) in terms)
        distance += float((file - recipe).square().sum())
        norm += float(file.square().sum())
    assert migration.error == pytest.approx((distance / norm) ** 0.5, rel=1e-7, abs=1e-12)
    assert (migration.error == 0) == (not dialect.needs_equal_ranks)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("kohya-merge", "0.25*v0 - 0.64*v1"),
        ("kohya-concat", "0.125*v0 - 0.32*v1"),
        ("supermerger", "0.25*v0 + 0.64*v1"),
        ("peft-linear", "0.5*v0 - 0.8*v1"),
        ("peft-svd-pre3111", "0.5*v0 - 0.4*v1"),
    ],
)
def test_a_migrated_recipe_reads_like_this(pair: Pair, name: str, recipe: str) -> None:
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == name)
    assert str(migrated(dialect, pair.combined((0.5, -0.8), (4.0, 2.0)))) == recipe


def test_a_migrated_recipe_has_scopes_where_modules_differ(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    """The old svd multiplied by alpha / r once more, and alpha is not the same everywhere."""
    modules = (*NAMES, "unet.down_blocks.0.resnets.0.conv1")
    vector = open_vector(save(draft(0, modules, ranks=(4,), alphas=(2.0, 2.0, 8.0)), tmp_path / "v"), table)
    migration = migrated(DIALECTS[-1], Combination(((0.5, vector),)))
    assert str(migration) == "0.25*v{unet.down_blocks.0.resnets.0.conv1: 4.0}"


def test_what_a_tool_refuses_has_no_recipe(
    draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    a, b = (open_vector(save(draft(i, NAMES, ranks=(2 + i,)), tmp_path / f"v{i}"), table) for i in range(2))
    with pytest.raises(
        MethodRefused, match=r"unequal ranks \(2 and 3\) in unet.conv_in: All adapters must have the same"
    ):
        migrated(DIALECTS[0], Combination(((1.0, a), (1.0, b))))
