import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import (
    AlgebraError,
    Combination,
    Interference,
    NeedsBase,
    Vector,
    interference,
    open_vector,
    suggested_strengths,
)
from arithmetic.deltas import Delta, Dense, LowRank
from arithmetic.grams import grams, matrices_of, own_grams
from arithmetic.interference import Overlap
from arithmetic.recipe.selectors import block_name
from arithmetic.subspaces import cosines, spaces_of
from formats import Architecture, ModuleSpec

Opened = Callable[..., Vector]


@pytest.fixture
def opened(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Opened:
    """A random kohya vector, its tensors changed before it is opened."""

    def make(seed: int, change: Callable[[dict], object] | None = None, name: str = "", **settings: object) -> Vector:
        path = save(draft(seed, **settings), tmp_path / (name or f"v{seed}"))
        if change is not None:
            tensors = load_file(path)
            change(tensors)
            save_file(tensors, path)
        return open_vector(path, table)

    return make


class Held:
    """A source whose deltas are held in memory."""

    parts = ()
    origins = ()

    def __init__(self, name: str, architecture: Architecture, deltas: dict[str, Delta]) -> None:
        self.name = name
        self.architecture = architecture
        self.content = (name, id(self))
        self.modules = deltas

    def delta(self, module: str) -> Delta:
        return self.modules[module]


def low_rank(up: torch.Tensor, down: torch.Tensor, scale: float = 1.0) -> LowRank:
    return LowRank(up, down, scale)


def drawing(seed: int) -> Callable[..., torch.Tensor]:
    """draw(*shape) -> normal numbers in float64."""
    generator = torch.Generator().manual_seed(seed)
    return partial(torch.randn, generator=generator, dtype=torch.float64)


def one_module(left: Delta, right: Delta, m: int, n: int) -> tuple[Held, Held]:
    table = Architecture("one", {"unet.conv_in": ModuleSpec("linear", (m, n))})
    return Held("a", table, {"unet.conv_in": left}), Held("b", table, {"unet.conv_in": right})


def flat(deltas: dict) -> torch.Tensor:
    return torch.cat([torch.from_numpy(delta).flatten() for delta in deltas.values()])


def test_norms_inner_product_and_cosine_are_those_of_the_dense_deltas(opened: Opened, draft: Callable) -> None:
    report = interference(opened(0), opened(1), (0.8, -0.5))
    a, b = flat(draft(0).deltas()), flat(draft(1).deltas())
    assert report.overlap.norm_a == pytest.approx(a.norm().item(), rel=1e-6)
    assert report.overlap.norm_b == pytest.approx(b.norm().item(), rel=1e-6)
    assert report.overlap.inner == pytest.approx((a @ b).item(), rel=1e-6)
    assert report.overlap.cosine == pytest.approx((a @ b / a.norm() / b.norm()).item(), rel=1e-6)
    assert report.norm_of_sum == pytest.approx((0.8 * a - 0.5 * b).norm().item(), rel=1e-6)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (-1.0, -1.0), (-0.25, -1.0)])
def test_a_multiple_of_a_vector_points_the_same_way_or_the_other(
    factor: float, expected: float, opened: Opened
) -> None:
    def scaled(tensors: dict) -> None:
        for key in tensors:
            if key.endswith("alpha"):
                tensors[key] *= factor

    report = interference(opened(0), opened(0, scaled, "scaled"))
    assert report.overlap.cosine == pytest.approx(expected, abs=1e-9)
    for block in report.blocks:
        assert block.overlap.cosine == pytest.approx(expected, abs=1e-9)
    assert report.columns.mean == pytest.approx(0, abs=1e-4)
    assert report.rows.mean == pytest.approx(0, abs=1e-4)


def test_the_inner_product_is_bilinear(opened: Opened) -> None:
    a, b, c = opened(0), opened(1), opened(2)
    total = Combination(((0.7, a), (-1.3, b)))
    expected = 0.7 * interference(a, c).overlap.inner - 1.3 * interference(b, c).overlap.inner
    assert interference(total, c).overlap.inner == pytest.approx(expected, rel=1e-9)
    assert interference(c, total).overlap.inner == pytest.approx(expected, rel=1e-9)


def test_the_report_does_not_depend_on_how_the_deltas_are_factored() -> None:
    draw = drawing(0)
    left, right = low_rank(draw(16, 3), draw(3, 24), 0.5), low_rank(draw(16, 4), draw(4, 24), 2.0)
    mixing = draw(4, 4) + 3 * torch.eye(4)
    turned = low_rank(right.up @ mixing * 5, torch.linalg.inv(mixing) @ right.down, 2.0 / 5)
    plain, other = (interference(*one_module(left, one, 16, 24)).modules[0] for one in (right, turned))
    for name in ("squared_b", "inner"):
        assert getattr(other.overlap, name) == pytest.approx(getattr(plain.overlap, name), rel=1e-9)
    for name in ("columns", "rows"):
        assert getattr(other, name).mean == pytest.approx(getattr(plain, name).mean, rel=1e-9)
    assert other.a_in_b.energy == pytest.approx(plain.a_in_b.energy, rel=1e-9)
    assert other.b_in_a.energy == pytest.approx(plain.b_in_a.energy, rel=1e-9)


def test_the_squared_norms_of_the_blocks_add_up_to_the_whole(opened: Opened) -> None:
    report = interference(opened(0), opened(1, modules=("unet.conv_in", "unet.down_blocks.0.resnets.0.conv1")))
    assert [block.block for block in report.blocks] == ["unet.conv_in", "unet.down.0", "te"]
    for name in ("squared_a", "squared_b", "inner"):
        total = sum(getattr(block.overlap, name) for block in report.blocks)
        assert total == pytest.approx(getattr(report.overlap, name), rel=1e-12)
    assert [(block.modules, block.shared) for block in report.blocks] == [(1, 1), (6, 1), (3, 0)]


def test_principal_angles_are_those_between_known_spaces() -> None:
    """e1 and e2 against e1 and cos(30) e2 + sin(30) e3: 0 and 30 degrees; orthogonal rows: 90."""
    eye = torch.eye(8, dtype=torch.float64)
    tilted = math.cos(math.pi / 6) * eye[1] + math.sin(math.pi / 6) * eye[2]
    mixing = torch.tensor([[2.0, 1.0], [-3.0, 0.5]], dtype=torch.float64)
    left = low_rank(torch.stack([eye[0], eye[1]], dim=1) @ mixing, eye[:2])
    right = low_rank(torch.stack([eye[0], tilted], dim=1), eye[4:6])
    module = interference(*one_module(left, right, 8, 8)).modules[0]
    assert module.columns.smallest == pytest.approx(0, abs=1e-4)
    assert module.columns.mean == pytest.approx(15, abs=1e-4)
    assert (module.rows.smallest, module.rows.mean) == (pytest.approx(90), pytest.approx(90))
    assert module.overlap.cosine == 0


@pytest.mark.parametrize("weakest", [1.0, 1e-2])
def test_principal_cosines_are_the_singular_values_of_the_product_of_orthonormal_bases(weakest: float) -> None:
    """Also where one direction is so weak that the basis is not made by Cholesky."""
    draw = drawing(4)
    deltas = [low_rank(draw(30, rank), draw(rank, 20)) for rank in (3, 5)]
    deltas[1].up[:, 0] *= weakest
    (a, own_a), (b, own_b) = (own_grams(matrices_of(delta)) for delta in deltas)
    found = cosines(spaces_of(own_a).columns, spaces_of(own_b).columns, grams(a, b).up)
    bases = [torch.linalg.qr(delta.up)[0] for delta in deltas]
    assert torch.allclose(found.flip(0), torch.linalg.svdvals(bases[0].T @ bases[1]), atol=1e-9)


def test_a_direction_that_half_precision_would_lose_is_none() -> None:
    eye = torch.eye(8, dtype=torch.float64)
    left = low_rank(eye[:, :2] * torch.tensor([1.0, 1e-4]), eye[:2])
    right = low_rank(eye[:, 1:2], eye[1:2])
    module = interference(*one_module(left, right, 8, 8)).modules[0]
    assert module.columns.smallest == pytest.approx(90)
    assert module.rows.smallest == pytest.approx(0, abs=1e-4)


def test_all_of_a_vector_lies_within_its_own_directions(opened: Opened) -> None:
    vector = opened(0)
    whole = interference(vector, vector, leading=1.0)
    assert whole.a_in_b.share == pytest.approx(1, abs=1e-9)
    most = interference(vector, vector)
    assert 0.9 <= most.a_in_b.share <= 1
    assert most.a_in_b.directions < whole.a_in_b.directions


def test_the_energy_inside_is_that_of_the_dense_projection() -> None:
    draw = drawing(9)
    style, fast = low_rank(draw(20, 4), draw(4, 30), 0.5), low_rank(draw(20, 6), draw(6, 30), 0.25)
    module = interference(*one_module(style, fast, 20, 30)).modules[0]
    u, sigma, vt = torch.linalg.svd(fast.dense(), full_matrices=False)
    energy = sigma.square().cumsum(0) / sigma.square().sum()
    k = int((energy < 0.9).sum()) + 1
    inside = u[:, :k].T @ style.dense() @ vt[:k].T
    assert module.a_in_b.directions == k
    assert module.a_in_b.energy == pytest.approx(inside.square().sum().item(), rel=1e-9)
    assert module.a_in_b.expected == pytest.approx(style.dense().square().sum().item() * k * k / 600)


def test_random_vectors_hold_the_expected_share_of_each_other() -> None:
    draw = drawing(2)
    pairs = [(low_rank(draw(40, 8), draw(8, 50)), low_rank(draw(40, 8), draw(8, 50))) for _ in range(60)]
    found = [interference(*one_module(*pair, 40, 50)).a_in_b for pair in pairs]
    shares = sum(one.share for one in found) / len(found)
    assert shares == pytest.approx(sum(one.expected for one in found) / len(found), rel=0.1)


def test_modules_of_one_vector_alone_count_for_its_norm_and_not_for_the_angles(opened: Opened) -> None:
    report = interference(opened(0, modules=("unet.conv_in",)), opened(1))
    assert len(report.modules) == 10
    assert [one.module for one in report.shared] == ["unet.conv_in"]
    alone = [one for one in report.modules if not one.is_shared]
    assert all(one.overlap.cosine is None and one.columns is None and one.b_in_a is None for one in alone)


def test_a_delta_without_factors_has_norms_and_no_angles() -> None:
    draw = drawing(1)
    matrix, factors = Dense(draw(6, 7), 0.5), low_rank(draw(6, 2), draw(2, 7), 3.0)
    module = interference(*one_module(matrix, factors, 6, 7)).modules[0]
    a, b = matrix.dense(), factors.dense()
    assert module.overlap.squared_a == pytest.approx((a * a).sum().item())
    assert module.overlap.squared_b == pytest.approx((b * b).sum().item())
    assert module.overlap.inner == pytest.approx((a * b).sum().item())
    assert module.columns is None
    assert module.a_in_b is None


def test_a_module_that_holds_no_number_is_left_out_and_named(opened: Opened) -> None:
    def broken(tensors: dict) -> None:
        tensors["lora_unet_conv_in.lora_up.weight"][0] = math.nan

    report = interference(opened(0, broken), opened(1))
    assert [(one.module, one.reason) for one in report.left_out] == [("unet.conv_in", "holds NaN or infinity")]
    assert "unet.conv_in" not in {one.module for one in report.modules}


def test_half_precision_agrees_with_the_dense_deltas(opened: Opened, draft: Callable, read_deltas: Callable) -> None:
    def halved(tensors: dict) -> None:
        tensors.update({key: tensor.half() for key, tensor in tensors.items()})

    a, b = opened(0, halved), opened(1, halved)
    report = interference(a, b)
    left, right = flat(read_deltas(a.path)), flat(read_deltas(b.path))
    assert report.overlap.norm_a == pytest.approx(left.norm().item(), rel=1e-6)
    assert report.overlap.inner == pytest.approx((left @ right).item(), abs=1e-6 * (left.norm() * right.norm()).item())


class OnNothing(Held):
    """A source that cannot tell its change of one module without a base."""

    def delta(self, module: str) -> Delta:
        if module == "unet.conv_in":
            raise NeedsBase(f"{self.name}: {module}: depends on the base's weights.")
        return super().delta(module)


def test_a_module_that_needs_a_base_is_left_out_with_the_reason() -> None:
    specs = {name: ModuleSpec("linear", (2, 2)) for name in ("unet.conv_in", "unet.conv_out")}
    table, delta = Architecture("two", specs), Dense(torch.eye(2))
    a, b = OnNothing("a", table, dict.fromkeys(specs, delta)), Held("b", table, dict.fromkeys(specs, delta))
    report = interference(a, b)
    assert [one.module for one in report.modules] == ["unet.conv_out"]
    assert [one.reason for one in report.left_out] == ["a: unet.conv_in: depends on the base's weights."]


def test_vectors_that_need_a_base_everywhere_are_refused_with_the_reason() -> None:
    table, deltas = (
        Architecture("one", {"unet.conv_in": ModuleSpec("linear", (2, 2))}),
        {"unet.conv_in": Dense(torch.eye(2))},
    )
    with pytest.raises(AlgebraError, match=r"no module can be compared: b: unet\.conv_in: depends on the base"):
        interference(Held("a", table, deltas), OnNothing("b", table, deltas))


def test_vectors_of_two_architectures_are_not_compared(opened: Opened, table: Architecture) -> None:
    a, _ = one_module(Dense(torch.ones(1, 1)), Dense(torch.ones(1, 1)), 1, 1)
    with pytest.raises(AlgebraError, match="a is one, v0 is tiny"):
        interference(a, opened(0))


@pytest.mark.parametrize("leading", [0.0, 1.5])
def test_a_share_outside_its_range_is_refused(leading: float, opened: Opened) -> None:
    with pytest.raises(AlgebraError, match="leading"):
        interference(opened(0), opened(1), leading=leading)


def test_progress_counts_modules(opened: Opened) -> None:
    calls: list[tuple[int, int]] = []
    interference(opened(0), opened(1), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 10) for done in range(1, 11)]


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("unet.down_blocks.1.resnets.0.time_emb_proj", "unet.down.1"),
        ("unet.mid_block.attentions.0.proj_in", "unet.mid"),
        ("unet.up_blocks.3.upsamplers.0.conv", "unet.up.3"),
        ("unet.time_embedding.linear_1", "unet.time_embedding"),
        ("unet.conv_out", "unet.conv_out"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", "te"),
        ("text_encoder_2.text_projection", "te2"),
    ],
)
def test_blocks_are_named_as_scopes_name_them(module: str, block: str) -> None:
    from arithmetic.recipe import Block

    assert block_name(module) == block
    assert Block(block).selects(module)


def crossing(cosine: float, style: float = 1.0, fast: float = 1.0) -> Interference:
    """Rank-one deltas with the same rows, whose columns have that cosine."""
    eye = torch.eye(50, dtype=torch.float64)
    column = cosine * eye[0] + math.sqrt(1 - cosine**2) * eye[1]
    a, b = low_rank(column[:, None], eye[:1], style), low_rank(eye[:, :1], eye[:1], fast)
    return interference(*one_module(a, b, 50, 50))


@pytest.mark.parametrize(
    ("report", "limit", "high"),
    [
        (crossing(0.0), "customary", 1.25),
        (crossing(0.2), "drift", 0.5),
        (crossing(-0.2), "drift", 0.5),
        (crossing(0.05, style=4.0), "drift", 0.5),
        (crossing(0.2, fast=4.0), "customary", 1.25),
    ],
)
def test_the_suggested_strengths_end_where_the_first_limit_is_reached(
    report: Interference, limit: str, high: float
) -> None:
    found = suggested_strengths(report)
    assert (found.vector, found.beside, found.limit) == ("a", "b", limit)
    assert found.high == pytest.approx(high, abs=0.011)
    assert found.low == pytest.approx(found.high / 2, abs=0.006)
    assert "b" in found.reason


def test_a_part_within_the_acceleration_that_is_not_along_it_limits_too() -> None:
    """Columns and rows are shared, the pairing is crossed: the inner product is 0, the energy inside is everything."""
    eye = torch.eye(9, dtype=torch.float64)
    style = low_rank(eye[:, :2], eye[[1, 0]], 2.0)
    fast = low_rank(eye[:, :2], eye[:2])
    found = suggested_strengths(interference(*one_module(style, fast, 9, 9)))
    assert (found.limit, found.high) == ("disturbance", 0.25)


def test_a_stronger_acceleration_leaves_more_room() -> None:
    eye = torch.eye(9, dtype=torch.float64)
    pair = one_module(low_rank(eye[:, :2], eye[[1, 0]], 2.0), low_rank(eye[:, :2], eye[:2]), 9, 9)
    assert suggested_strengths(interference(*pair, weights=(1.0, 2.0))).high == 0.5


def test_either_vector_can_be_the_one_that_is_asked_about() -> None:
    found = suggested_strengths(crossing(0.2, style=4.0), "b")
    assert (found.vector, found.beside, found.limit) == ("b", "a", "customary")


def test_nothing_is_suggested_beside_nothing() -> None:
    assert suggested_strengths(Interference("a", "b", (1.0, 1.0), ())) is None
    assert Overlap(0.0, 1.0, 0.0).cosine is None
