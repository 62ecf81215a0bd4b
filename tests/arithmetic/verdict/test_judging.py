from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import (
    Combination,
    Dossier,
    Finding,
    Known,
    Vector,
    check,
    check_headers,
    measure,
    open_vector,
    parse,
)
from arithmetic.reduction import RankAtMost
from arithmetic.sources.combination import Scoped
from arithmetic.sources.reduced import Reduced
from formats import Architecture, Layout

Opened = Callable[..., Vector]
UP, DOWN = "lora_unet_conv_in.lora_up.weight", "lora_unet_conv_in.lora_down.weight"


def finding(combination: Combination, code: str, **options: object) -> Finding:
    (one,) = [one for one in check(combination, **options).findings if one.code == code]
    return one


def emptied(vector: Vector, sha256: str) -> Vector:
    """The same vector, opened again, whose tensors are gone: who reads one fails."""
    copy = open_vector(vector.path, vector.architecture, sha256=sha256)
    content = vector.path.read_bytes()
    vector.path.write_bytes(content[: 8 + int.from_bytes(content[:8], "little")])
    return copy


def untrained(tensors: dict) -> None:
    for key in tensors:
        if "lora_up" in key:
            tensors[key].zero_()


def broken(tensors: dict) -> None:
    tensors[UP][0] = float("nan")


def enlarged(tensors: dict) -> None:
    tensors[UP].mul_(1e7)
    tensors[DOWN].mul_(1e7)


@pytest.mark.parametrize("change", [None, untrained, broken, enlarged])
@pytest.mark.parametrize("weights", [(0.8, 1.0), (0.0, 1.0), (1e-3, -2.0)])
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_a_verdict_by_measures_is_the_verdict_by_tensors(
    change: Callable | None, weights: tuple[float, float], dtype: str, opened: Opened
) -> None:
    a, b = opened(0, change), opened(1)
    combination = Combination(tuple(zip(weights, (a, b), strict=True)))
    measures = {vector.content: type(measure(vector)).from_bytes(measure(vector).to_bytes()) for vector in (a, b)}
    assert check(combination, dtype=dtype, measures=measures) == check(combination, dtype=dtype)


def test_with_measures_no_tensor_is_read(opened: Opened) -> None:
    vectors = [opened(seed) for seed in range(3)]
    measured = [measure(vector) for vector in vectors]
    hollow = [emptied(vector, f"{number}" * 64) for number, vector in enumerate(vectors)]
    combination = Combination(tuple((0.5, vector) for vector in hollow))
    measures = {vector.content: found for vector, found in zip(hollow, measured, strict=True)}
    assert check(combination, measures=measures, dtype="fp16").ok
    assert check_headers(combination).ok


def test_measures_of_other_modules_are_not_believed(opened: Opened) -> None:
    a = opened(0, broken)
    other = measure(opened(1, modules=("unet.conv_in",)))
    assert finding(Combination(((1.0, a),)), "non-finite", measures={a.content: other})


def test_headers_alone_tell_what_they_forbid(opened: Opened) -> None:
    a = opened(0, lambda tensors: tensors.update({"lora_unet_nowhere.lora_up.weight": torch.ones(2, 2)}))
    assert [one.code for one in check_headers(Combination(((1.0, a), (1.0, opened(1))))).findings] == ["unmatched-keys"]


def test_one_content_under_two_names_is_named_by_both(opened: Opened, tmp_path: Path) -> None:
    a = opened(0)
    (tmp_path / "copy").write_bytes(a.path.read_bytes())
    copy = open_vector(tmp_path / "copy", a.architecture)
    one = finding(Combination(((0.5, a), (0.25, copy))), "same-content-twice")
    assert one.sentence == "v0 and copy are one content under 2 names."
    assert one.remedy == "Their weights are added; write one term."


def test_one_vector_twice_is_counted(opened: Opened) -> None:
    a = opened(0)
    assert finding(Combination(((0.5, a), (0.25, a))), "same-content-twice").sentence == "v0 stands 2 times."


@pytest.mark.parametrize("layout", [Layout.DIFFUSERS, Layout.PEFT])
def test_the_same_deltas_in_another_layout_are_one_content_too(layout: Layout, opened: Opened) -> None:
    a, copy = opened(0), opened(0, name="other", layout=layout)
    one = finding(Combination(((0.5, a), (0.25, copy))), "same-content-twice")
    assert one.sentence == "v0 and other are one content under 2 names."


def test_a_scaled_copy_is_another_vector(opened: Opened) -> None:
    a, b = opened(0), opened(0, lambda t: t.update({k: v * 1.01 for k, v in t.items() if "lora_up" in k}), "scaled")
    assert "same-content-twice" not in [one.code for one in check(Combination(((1.0, a), (1.0, b)))).findings]


def test_two_accelerations_are_a_warning_and_one_is_none(opened: Opened) -> None:
    combination = Combination(((1.0, opened(0)), (1.0, opened(1))))
    both = Known((Dossier("v0", "acceleration"), Dossier("v1", "acceleration")))
    one = finding(combination, "two-accelerations", known=both)
    assert one.sentence == "v0 and v1 are both acceleration vectors; each was distilled to be the only one."
    assert one.remedy == "Keep one of them."
    assert check(combination, known=Known((Dossier("v0", "acceleration"),))).ok
    unused = Combination(((1.0, opened(0)), (0.0, opened(1))))
    assert "two-accelerations" not in [one.code for one in check(unused, known=both).findings]


def test_what_the_registry_knows_is_part_of_the_verdict(opened: Opened) -> None:
    known = Known(
        (Dossier("v0", prediction_type="epsilon"),),
        base=Dossier("base:1", prediction_type="v_prediction"),
        license_conflicts=("v0 forbids it",),
    )
    found = check(Combination(((1.0, opened(0)),)), known=known).findings
    assert [one.code for one in found] == ["prediction-type", "licence-conflict"]


def dora(tensors: dict) -> None:
    tensors["lora_unet_conv_in.dora_scale"] = torch.ones(10, 1, 1, 1)


def test_a_kind_that_depends_on_the_base_asks_for_one_and_for_a_dialect(opened: Opened) -> None:
    combination = Combination(((1.0, opened(0, dora)),))
    one = finding(combination, "needs-base")
    assert one.sentence.startswith("v0: what lora+dora changes in 1 module depends on the base's weights")
    assert one.remedy == "Name a base and the dialect that is meant: on_base(v0; dialect=peft), lycoris or comfy."
    two = finding(combination, "needs-dialect", known=Known(base=Dossier("base:1", "base")))
    assert two.remedy == "Name the dialect that is meant: on_base(v0; dialect=peft), lycoris or comfy."


def full(tensors: dict) -> None:
    for key in (UP, DOWN, "lora_unet_conv_in.alpha"):
        del tensors[key]
    tensors["lora_unet_conv_in.diff"] = torch.ones(10, 4, 3, 3)


def test_a_matrix_has_no_place_in_a_lora_file_until_it_has_a_rank(opened: Opened) -> None:
    a = opened(0, full)
    one = finding(Combination(((1.0, a),)), "dense-result")
    assert one.sentence.startswith("v0 is no low-rank delta in 1 module: unet.conv_in")
    assert one.remedy == "Give it a rank, as in ... | rank(64), or bake it into a base."
    assert check(Combination(((1.0, Reduced(a, (RankAtMost(4),))),))).ok
    assert check(Combination(((0.0, a), (1.0, opened(1))))).ok


def biased(tensors: dict) -> None:
    tensors["lora_unet_conv_in.diff_b"] = torch.ones(10)


def test_a_bias_has_a_place_in_some_layouts_only(opened: Opened) -> None:
    combination = Combination(((1.0, opened(0, biased)),))
    assert check(combination, layout=Layout.KOHYA).ok
    one = finding(combination, "no-place-for-channels", layout=Layout.PEFT)
    assert one.sentence == (
        "peft files hold no changes of biases and normalisations, and the sum has 1 module of them: unet.conv_in.bias."
    )
    assert one.remedy == "Write kohya or comfy, which ComfyUI and LyCORIS read, or bake it into a base."


def test_a_bias_that_fp16_does_not_hold_is_an_overflow(opened: Opened) -> None:
    combination = Combination(
        ((2.0, opened(0, lambda t: t.update({"lora_unet_conv_in.diff_b": torch.full((10,), 4e4)}))),)
    )
    assert "unet.conv_in.bias: an entry of 8e+04" in finding(combination, "fp16-overflow", dtype="fp16").sentence


def test_growing_ranks_are_a_note_with_what_to_do(opened: Opened) -> None:
    one = finding(Combination(((1.0, opened(0)), (1.0, opened(1)))), "rank-growth")
    assert (one.severity, one.remedy) == (
        "note",
        "Write | rank(N) for a smaller file; the certificate then says what it costs.",
    )


def scoped(vector: Vector, text: str) -> Scoped:
    return Scoped(vector, parse(f"a{{{text}}}").terms[0].scopes)


def test_scopes_that_cancel_everywhere_change_nothing(opened: Opened) -> None:
    a = opened(0)
    halves = ((1.0, scoped(a, "unet: 0.5, else: 1")), (-1.0, scoped(a, "unet: 0.5, else: 1")))
    assert finding(Combination(halves), "no-change")
    assert check(Combination(((1.0, scoped(a, "unet: 0.5, else: 1")), (-1.0, a)))).ok


def test_a_scope_counts_in_what_overflows(opened: Opened) -> None:
    a = opened(0, enlarged)
    assert finding(Combination(((1.0, a),)), "fp16-overflow", dtype="fp16")
    assert check(Combination(((1.0, scoped(a, "unet.conv_in: 0, else: 1")),)), dtype="fp16").ok


def test_a_reduced_sum_of_what_cancels_changes_nothing_and_a_residual_does(opened: Opened) -> None:
    a, copy = opened(0), opened(0, name="copy", layout=Layout.DIFFUSERS)
    cancelled = Combination(((1.0, a), (-1.0, copy)))
    assert finding(Combination(((1.0, Reduced(cancelled, (RankAtMost(2),))),)), "no-change")
    assert check(Combination(((1.0, a), (-1.0, Reduced(a, (RankAtMost(1),)))))).ok


def test_a_broken_vector_is_found_inside_a_reduction(opened: Opened) -> None:
    inner = Combination(((1.0, opened(0, broken)), (1.0, opened(1))))
    one = finding(Combination(((1.0, Reduced(inner, (RankAtMost(2),))),)), "non-finite")
    assert one.sentence == "v0: NaN or infinity in 1 module: unet.conv_in."
    assert one.remedy == "Train or export it again."


def test_vectors_of_two_architectures_are_told_without_reading_either(
    opened: Opened, table: Architecture, tmp_path: Path
) -> None:
    a = opened(0)
    modules = {name: spec for name, spec in table.modules.items() if name != "unet.conv_in"}
    tensors = {key: tensor for key, tensor in load_file(a.path).items() if "conv_in" not in key}
    save_file(tensors, tmp_path / "narrow")
    b = open_vector(tmp_path / "narrow", Architecture("narrow", modules))
    found = check_headers(Combination(((1.0, a), (1.0, b)))).findings
    assert [one.code for one in found] == ["architecture-mismatch"]
    assert found[0].remedy == "Sum vectors of one architecture."


def test_progress_counts_the_modules_that_are_read(opened: Opened) -> None:
    a, b = opened(0), opened(1)
    calls: list[tuple[int, int]] = []
    check(
        Combination(((1.0, a), (1.0, b))),
        measures={a.content: measure(a)},
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(done, 10) for done in range(1, 11)]
