"""The table of methods: names, options that are read, refusals that help."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from arithmetic import DIALECTS, MethodRefused
from arithmetic.methods import METHODS, Method, Option, Space, merged, method_of

ON_MATRICES = [method for method in METHODS.values() if method.space is not Space.FACTORS]
OTHERS: dict[str, Option] = {"density": 0.7, "epsilon": 0.3, "k": 2, "seed": 5}
OPTIONS = [(method, name) for method in ON_MATRICES for name in method.own_options]


def made(method: Method, deltas: list[Tensor], **options: Option) -> Tensor:
    return merged(method, deltas, (0.8, -0.5), module="m", options=options)


def test_every_method_is_in_the_table_under_its_name() -> None:
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}
    assert {method.name for method in ON_MATRICES} == {
        "magnitude", "ties", "dare", "della", "knots", "tsv", "iso", "project", "core"
    }  # fmt: skip
    assert [name for name, method in METHODS.items() if method.space is Space.FACTORS] == [d.name for d in DIALECTS]


@pytest.mark.parametrize("method", ON_MATRICES, ids=lambda method: method.name)
def test_every_method_runs_with_its_defaults_on_one_module(method: Method, deltas: Callable) -> None:
    result = made(method, deltas(2))
    assert result.shape == (8, 11)
    assert torch.isfinite(result).all()
    assert float(result.norm()) > 0


@pytest.mark.parametrize(("method", "name"), OPTIONS, ids=lambda value: getattr(value, "name", value))
def test_every_option_changes_the_result(method: Method, name: str, deltas: Callable) -> None:
    spec = method.own_options[name]
    others = [choice for choice in spec.choices if choice != spec.default] or [OTHERS[name]]
    results = [made(method, deltas(2), **{name: value}) for value in (spec.default, *others)]
    assert all(not torch.allclose(results[0], other) for other in results[1:])


@pytest.mark.parametrize("method", ON_MATRICES, ids=lambda method: method.name)
def test_the_seed_changes_the_result_of_random_methods_alone(method: Method, deltas: Callable) -> None:
    options: dict[str, Option] = {"merge": "dare"} if method.name == "core" else {}
    one, other = (made(method, deltas(2), seed=seed, **options) for seed in (0, 5))
    assert torch.equal(one, other) != method.is_random


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(MethodRefused, match=r"there is no method 'tise'. Did you mean ties\? Known: core, dare"):
        method_of("tise")
    assert method_of("peft-linear").space is Space.FACTORS


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ties", {"densty": 0.3}, r"ties: there is no option 'densty'. Did you mean density\? Known: density, dialect"),
        ("ties", {"density": 0.0}, "ties: density is 0.0, expected a number and above 0 and of at most 1"),
        ("ties", {"density": True}, "ties: density is True, expected a number"),
        ("ties", {"density": "much"}, "ties: density is 'much'"),
        ("ties", {"density": float("nan")}, "ties: density is nan"),
        ("ties", {"dialect": "kohya"}, "ties: dialect is 'kohya', expected one of peft, mergekit, mecha."),
        ("project", {"k": 1.5}, "project: k is 1.5, expected a whole number and of at least 1"),
        ("dare", {"seed": -1}, "dare: seed is -1, expected a whole number and of at least 0"),
        ("peft-linear", {"seed": 1}, "peft-linear: there is no option 'seed'. Known: none."),
    ],
)
def test_an_option_that_cannot_be_is_refused(name: str, options: dict[str, Option], message: str) -> None:
    with pytest.raises(MethodRefused, match=message):
        method_of(name).settings(options)


def test_settings_are_complete_and_of_the_options_type() -> None:
    assert method_of("della").settings({"density": 1, "seed": 3.0}) == {
        "density": 1.0, "epsilon": 0.15, "dialect": "paper", "consensus": "ties", "seed": 3
    }  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [("project", 1), ("project", 3), ("ties", 0)])
def test_too_few_or_too_many_arguments_are_refused(name: str, count: int, deltas: Callable) -> None:
    with pytest.raises(MethodRefused, match=f"{name}: it has {count} arguments, expected"):
        merged(METHODS[name], deltas(count), [1.0] * count, module="m")


def test_a_sum_of_factors_takes_no_matrices(deltas: Callable) -> None:
    with pytest.raises(MethodRefused, match="peft-linear: it sums factors, and was handed matrices"):
        merged(METHODS["peft-linear"], deltas(2), [1.0, 1.0], module="m")
