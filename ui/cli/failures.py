"""Turns what an operation raises into a message on stderr and an exit code."""

from typing import Any

import typer
from typer.core import TyperGroup

from ui.cli.interruption import asked_to_stop, remembered_interruption
from ui.cli.output import hint, problem
from workbench.outcomes import Outcome, outcome_of


class Commands(TyperGroup):
    """The command group at the root: every foreseen error below it becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error that nobody foresaw passes through, with its traceback."""
        try:
            with remembered_interruption():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            outcome = Outcome.INTERRUPTED if asked_to_stop() else outcome_of(error)
            if outcome is None:
                raise
            if outcome is Outcome.INTERRUPTED:
                hint("interrupted; nothing was left half done")
            else:
                problem(message_of(error))
            raise typer.Exit(outcome) from error


def message_of(error: BaseException) -> str:
    """What `error` says; the operating system's errors with their path first."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__
