"""What an error means to a face."""

from importlib import import_module

import pytest

from workbench.errors import BaseUndecided, JobUnfinished, WorkbenchError
from workbench.outcomes import OUTCOMES, Outcome, outcome_of


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_listed_error_exists_under_its_name(name: str) -> None:
    module, _, cls = name.rpartition(".")
    found = getattr(import_module(module), cls)
    assert issubclass(found, BaseException)
    assert (found.__module__, found.__qualname__) == (module, cls)


@pytest.mark.parametrize(
    ("package", "base"),
    [
        ("arithmetic", "AlgebraError"),
        ("distill_jobs", "DistillError"),
        ("formats", "FormatError"),
        ("registry", "RegistryError"),
        ("sampling", "SamplingError"),
        ("workbench", "WorkbenchError"),
    ],
)
def test_no_error_of_ours_is_unforeseen(package: str, base: str) -> None:
    errors = import_module(f"{package}.errors")
    ours = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, getattr(errors, base))]
    assert all(outcome_of(cls.__new__(cls)) is not None for cls in ours)


def test_the_nearest_listed_ancestor_decides() -> None:
    assert outcome_of(BaseUndecided("sd15", [])) is Outcome.USAGE
    assert outcome_of(JobUnfinished("ended")) is Outcome.FAILURE
    assert outcome_of(IsADirectoryError()) is Outcome.FAILURE
    assert outcome_of(KeyboardInterrupt()) is Outcome.INTERRUPTED


def test_what_nobody_foresaw_has_no_outcome() -> None:
    assert outcome_of(ZeroDivisionError()) is None


def test_the_numbers_are_the_documented_exit_codes() -> None:
    assert {outcome.name: int(outcome) for outcome in Outcome} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "REFUSED": 4,
        "CONFLICT": 5,
        "FORBIDDEN": 6,
        "TIMED_OUT": 124,
        "INTERRUPTED": 130,
    }


def test_an_undecided_base_names_the_candidates_and_the_option() -> None:
    assert "--base a:1" in str(BaseUndecided("sd15", ["a:1", "b:2"]))
    assert "tau import" in str(BaseUndecided("sd15", []))
    assert issubclass(BaseUndecided, WorkbenchError)
