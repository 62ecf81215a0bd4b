"""How an operation can end, as every face reports it; the numbers are the exit codes of the command line."""

from enum import IntEnum
from typing import Final


class Outcome(IntEnum):
    """The ways in which an operation ends."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    """What was asked cannot be understood: ask differently."""
    NOT_FOUND = 3
    REFUSED = 4
    """Understood and found, but the input is not fit for it."""
    CONFLICT = 5
    FORBIDDEN = 6
    TIMED_OUT = 124
    INTERRUPTED = 130


OUTCOMES: Final[dict[str, Outcome]] = {
    "arithmetic.errors.AlgebraError": Outcome.REFUSED,
    "arithmetic.errors.BindingRefused": Outcome.USAGE,
    "arithmetic.errors.Cancelled": Outcome.INTERRUPTED,
    "arithmetic.errors.OutputConflict": Outcome.CONFLICT,
    "arithmetic.errors.RecipeError": Outcome.USAGE,
    "builtins.FileNotFoundError": Outcome.NOT_FOUND,
    "builtins.KeyboardInterrupt": Outcome.INTERRUPTED,
    "builtins.OSError": Outcome.FAILURE,
    "builtins.PermissionError": Outcome.FORBIDDEN,
    "builtins.TimeoutError": Outcome.TIMED_OUT,
    "distill_jobs.errors.DatasetError": Outcome.REFUSED,
    "distill_jobs.errors.DistillError": Outcome.FAILURE,
    "distill_jobs.errors.NotClaimable": Outcome.CONFLICT,
    "distill_jobs.errors.UnusableSlots": Outcome.USAGE,
    "formats.errors.FormatError": Outcome.REFUSED,
    "registry.errors.Conflict": Outcome.CONFLICT,
    "registry.errors.InvalidName": Outcome.USAGE,
    "registry.errors.InvalidQuery": Outcome.USAGE,
    "registry.errors.InvalidReference": Outcome.USAGE,
    "registry.errors.NotFound": Outcome.NOT_FOUND,
    "registry.errors.Refused": Outcome.REFUSED,
    "registry.errors.RegistryError": Outcome.FAILURE,
    "sampling.errors.Cancelled": Outcome.INTERRUPTED,
    "sampling.errors.NoRecord": Outcome.REFUSED,
    "sampling.errors.RecordRefused": Outcome.REFUSED,
    "sampling.errors.SamplingError": Outcome.FAILURE,
    "sampling.errors.TooLittleMemory": Outcome.REFUSED,
    "sampling.errors.UnknownDevice": Outcome.USAGE,
    "sampling.errors.UnknownSolver": Outcome.USAGE,
    "sampling.errors.UnsupportedSetting": Outcome.USAGE,
    "sampling.errors.VectorMismatch": Outcome.REFUSED,
    "workbench.errors.BaseUndecided": Outcome.USAGE,
    "workbench.errors.ChangedInput": Outcome.REFUSED,
    "workbench.errors.ChangedUpstream": Outcome.CONFLICT,
    "workbench.errors.DownloadCancelled": Outcome.INTERRUPTED,
    "workbench.errors.DownloadFailed": Outcome.FAILURE,
    "workbench.errors.FolderTaken": Outcome.CONFLICT,
    "workbench.errors.ForbiddenAddress": Outcome.REFUSED,
    "workbench.errors.HubRefused": Outcome.FORBIDDEN,
    "workbench.errors.InvalidAddress": Outcome.USAGE,
    "workbench.errors.InvalidAxis": Outcome.USAGE,
    "workbench.errors.InvalidSettings": Outcome.USAGE,
    "workbench.errors.InvalidSize": Outcome.USAGE,
    "workbench.errors.LookupsAreOff": Outcome.USAGE,
    "workbench.errors.MissingInputs": Outcome.NOT_FOUND,
    "workbench.errors.NotABase": Outcome.USAGE,
    "workbench.errors.NotADemo": Outcome.REFUSED,
    "workbench.errors.NotAVector": Outcome.REFUSED,
    "workbench.errors.NotAPicture": Outcome.REFUSED,
    "workbench.errors.NotBaked": Outcome.NOT_FOUND,
    "workbench.errors.NotCertified": Outcome.NOT_FOUND,
    "workbench.errors.NotImportable": Outcome.REFUSED,
    "workbench.errors.NoRegistry": Outcome.NOT_FOUND,
    "workbench.errors.NotPublished": Outcome.REFUSED,
    "workbench.errors.NotThere": Outcome.NOT_FOUND,
    "workbench.errors.Quarantined": Outcome.REFUSED,
    "workbench.errors.SyncCancelled": Outcome.INTERRUPTED,
    "workbench.errors.SyncRunning": Outcome.CONFLICT,
    "workbench.errors.TooLarge": Outcome.REFUSED,
    "workbench.errors.UnknownInRecipe": Outcome.NOT_FOUND,
    "workbench.errors.UnknownPath": Outcome.NOT_FOUND,
    "workbench.errors.UnknownTerm": Outcome.USAGE,
    "workbench.errors.UnknownTool": Outcome.USAGE,
    "workbench.errors.UnpaintableBase": Outcome.REFUSED,
    "workbench.errors.UnsupportedLayout": Outcome.USAGE,
    "workbench.errors.UnsupportedRecipe": Outcome.USAGE,
    "workbench.errors.WaitTimedOut": Outcome.TIMED_OUT,
    "workbench.errors.WorkbenchError": Outcome.FAILURE,
}
"""Class -> outcome. Names stand for the classes because importing the classes would import torch and SQL."""


def outcome_of(error: BaseException) -> Outcome | None:
    """The outcome that `error` means, by its nearest listed ancestor; None for an error that nobody foresaw."""
    for cls in type(error).__mro__:
        outcome = OUTCOMES.get(f"{cls.__module__}.{cls.__qualname__}")
        if outcome is not None:
            return outcome
    return None
