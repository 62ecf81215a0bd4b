"""What a use case refuses, beside what the rooms below refuse themselves.

WorkbenchError
|-- BaseUndecided           no base is named, and not exactly one fits; the candidates are listed
|-- NotABase                what stands for the base is something else
|-- UnpaintableBase         a base without all that it takes to paint
|   `-- TokenizerMissing    one file whose tokenizer is nowhere in the registry
|-- NotAVector              what stands for a vector is something else
|-- UnsupportedRecipe       a recipe that this operation cannot carry out
|-- UnsupportedLayout       a key layout that no output can be written in
|-- UnknownInRecipe         a reference in a recipe that nothing answers to; shows the place with a caret
|-- UnknownTerm             a place in a recipe at which no term stands
|-- NoRegistry              a name where there is no registry to find it in
|-- InvalidSize             a text that is no number of bytes
|-- UnknownPath             a path in a recipe or argument at which nothing lies
|-- InvalidSettings         settings of a job that its kind does not accept
|-- InvalidAxis             an axis of a grid that names nothing, or whose values are none
|-- NotInspected            a training whose pre-flight has not ended, or found what would go wrong
|-- MissingInputs           what a picture was painted from, and is not here; each with its sha256
|-- ChangedInput            a path whose content is no longer what a recipe was locked to
|-- NotCertified            there is no certificate to prove a file against
|-- NotAPicture             a file that is no picture which a painting could begin with
|-- NotBaked                a checkpoint that does not say what was baked into it
|-- JobUnfinished           a job that was waited for ended without a result
|-- WorkerDied              a local worker ended while it was starting
|-- InvalidAddress          a text that is no http, https or hf address of the accepted form
|-- ForbiddenPath           a path outside the folders that are open to pages
|-- ForbiddenAddress        a host that is unknown, or that lies in a private network and is not named in the settings
|-- DownloadFailed          an address that did not answer, or not with a whole file
|   |-- NotThere            the server says that there is no such thing
|   |-- TooLarge            more bytes than the settings allow
|   `-- DownloadCancelled   stopped by whoever asked for it
|-- ChangedUpstream         a name that brought other bytes the last time it was imported
|-- NotImportable           a path, archive or repository from which nothing can be registered
|-- Quarantined             a pickle, which is kept but never given out
|-- IdentityLost            a written file that is not the vector that was read
|-- FolderTaken             a folder that holds something else than an earlier result of the same command
|-- NotPublished            a version that was not offered to anybody yet
|-- UnknownTool             a program that nothing is known about
|-- SyncCancelled           a sync that whoever asked for it stopped; the next one goes on
|-- SyncRunning             another sync of the same folder is going on
|-- HubRefused              the Hub does not let us write, or another writer was faster
|-- LookupsAreOff           no service for look-ups is configured
|-- NotADemo                a folder that the demo did not make, and so does not empty
`-- WaitTimedOut            the time to wait for a job is over; the job goes on
"""

from collections.abc import Sequence
from pathlib import Path


class WorkbenchError(Exception):
    """Base of everything this package raises on purpose."""


class BaseUndecided(WorkbenchError):
    """No base is named, and not exactly one fits."""

    def __init__(self, family: str, candidates: Sequence[str]) -> None:
        self.family, self.candidates = family, tuple(candidates)
        if candidates:
            reason = f"{len(candidates)} registered bases are of the family {family}: {', '.join(candidates)}"
            remedy = f"name one: --base {candidates[0]}"
        else:
            reason = f"no registered base is of the family {family}"
            remedy = "import one: tau import FOLDER --kind base"
        super().__init__(f"which base? {reason}; {remedy}")


class NotABase(WorkbenchError):
    """What stands for the base is something else."""


class UnpaintableBase(WorkbenchError):
    """A base without all that it takes to paint."""


class TokenizerMissing(UnpaintableBase):
    """One file whose tokenizer is nowhere in the registry."""

    def __init__(self, base: str, families: Sequence[str]) -> None:
        alone = "; or the tokenizer alone, a folder with vocab.json and merges.txt: "
        alone += "tau import FOLDER --kind other --name clip-tokenizer"
        super().__init__(
            f"{base}: one file, which holds no tokenizer, and no registered base has one that fits. Import a base of "
            f"{' or '.join(families)} as a diffusers folder: tau import FOLDER --kind base"
            f"{alone if len(families) > 1 else ''}"
        )


class NotAVector(WorkbenchError):
    """What stands for a vector is something else."""


class UnsupportedRecipe(WorkbenchError):
    """A recipe that this operation cannot carry out."""


class UnsupportedLayout(WorkbenchError):
    """A key layout that no output can be written in."""


class UnknownInRecipe(WorkbenchError):
    """A reference in a recipe that nothing answers to."""

    def __init__(self, text: str, reference: str, reason: str) -> None:
        self.text, self.reference = text, reference
        place = max(text.find(reference), 0)
        super().__init__(f"{reason}\n  {text}\n  {' ' * place}{'^' * len(reference)}")


class UnknownTerm(WorkbenchError):
    """A place in a recipe at which no term stands."""


class UnknownPath(WorkbenchError):
    """A path at which nothing lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path}: no such file or folder")


class InvalidSettings(WorkbenchError):
    """Settings of a job that its kind does not accept."""


class InvalidAxis(WorkbenchError):
    """An axis of a grid that names nothing, or whose values are none."""


class NoRegistry(WorkbenchError):
    """A name where there is no registry to find it in."""


class InvalidSize(WorkbenchError):
    """A text that is no number of bytes."""


class NotInspected(WorkbenchError):
    """A training whose pre-flight has not ended, or found what would go wrong."""


class MissingInputs(WorkbenchError):
    """What a picture was painted from, and is not here."""

    def __init__(self, path: Path, missing: Sequence[str]) -> None:
        self.path, self.missing = path, tuple(missing)
        listed = "; ".join(missing)
        super().__init__(f"{path}: cannot be painted again without {listed}. Import these very files: tau import PATH")


class ChangedInput(WorkbenchError):
    """A path whose content is no longer what a recipe was locked to."""


class NotCertified(WorkbenchError):
    """There is no certificate to prove a file against."""


class NotAPicture(WorkbenchError):
    """A file is no picture that can be opened."""


class NotBaked(WorkbenchError):
    """A checkpoint that does not say what was baked into it."""


class JobUnfinished(WorkbenchError):
    """A job that was waited for ended without a result."""


class WorkerDied(WorkbenchError):
    """A local worker ended while it was starting."""


class NotADemo(WorkbenchError):
    """A folder that the demo did not make, and so does not empty."""


class InvalidAddress(WorkbenchError):
    """A text that is no http, https or hf address of the accepted form."""


class ForbiddenPath(WorkbenchError):
    """A path outside the folders that are open to pages."""


class ForbiddenAddress(WorkbenchError):
    """A host that is unknown, or that lies in a private network and is not named in the settings."""


class DownloadFailed(WorkbenchError):
    """An address that did not answer, or not with a whole file."""


class NotThere(DownloadFailed):
    """The server says that there is no such thing."""


class TooLarge(DownloadFailed):
    """More bytes than the settings allow."""


class DownloadCancelled(DownloadFailed):
    """Stopped by whoever asked for it."""


class ChangedUpstream(WorkbenchError):
    """A name that brought other bytes the last time it was imported."""


class NotImportable(WorkbenchError):
    """A path, archive or repository from which nothing can be registered."""


class LookupsAreOff(WorkbenchError):
    """No service for look-ups is configured."""


class Quarantined(WorkbenchError):
    """A pickle, which is kept but never given out."""


class IdentityLost(WorkbenchError):
    """A written file that is not the vector that was read."""


class FolderTaken(WorkbenchError):
    """A folder that holds something else than an earlier result of the same command."""


class NotPublished(WorkbenchError):
    """A version that was not offered to anybody yet."""


class UnknownTool(WorkbenchError):
    """A program that nothing is known about."""


class SyncCancelled(WorkbenchError):
    """A sync that whoever asked for it stopped; the next one goes on."""


class SyncRunning(WorkbenchError):
    """Another sync of the same folder is going on."""


class HubRefused(WorkbenchError):
    """The Hub does not let us write, or another writer was faster."""


class WaitTimedOut(WorkbenchError):
    """The time to wait for a job is over; the job goes on."""
