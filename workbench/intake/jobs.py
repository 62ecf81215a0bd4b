"""Imports in the background, as the pages start them: what may be imported, the job, and how far it is.

A page imports paths inside the open folders alone, and the job looks again that what was allowed is still what lies
there.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InvalidAddress, InvalidSettings
from workbench.intake.hub import SCHEME, parse_hub_address
from workbench.intake.open_folders import allowed_path, require_unmoved
from workbench.jobs.queueing import queue_of

if TYPE_CHECKING:
    from distill_jobs import JobContext
    from registry import Registry
    from registry.jobs import Job
    from workbench.intake.report import ImportReport
    from workbench.pace import Progress as Paced

KIND = "import"
SAID = frozenset({"kind", "name", "license", "base", "draft", "in_place", "update"})
"""The words that `take_in` takes and an order may hold."""

WEB = ("http://", "https://")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*([@/].*)?")
LISTED = 200
"""Names in a job's result, of what was imported and of what was left; the numbers are of all."""

PARTS = 100
"""An import of one file is so many steps long."""


def source_of(text: str, roots: "tuple[Path, ...]") -> str:
    """What a page means by `text`: an address, a repository's id as hf://OWNER/REPO, or a path inside `roots`.

    A path comes back resolved, links followed. Raises InvalidAddress and ForbiddenPath.
    """
    said = text.strip()
    if said.startswith(SCHEME):
        parse_hub_address(said)
        return said
    if said.startswith(WEB):
        from workbench.intake.addresses import split_url

        split_url(said)
        return said
    if said.startswith(("/", "~", "\\")) or Path(said).is_absolute():
        return str(allowed_path(said, roots, "Import it in a terminal: tau import"))
    if HUB_ID.fullmatch(said):
        parse_hub_address(f"{SCHEME}{said}")
        return f"{SCHEME}{said}"
    raise InvalidAddress(
        f"source {said!r}: expected the whole path of a file or folder, https://HOST/PATH, or OWNER/REPO of the Hub"
    )


def submit_import(registry: "Registry", text: str, roots: "tuple[Path, ...]" = (), **said: Any) -> "Job":
    """Queue the import of what `text` names; the same order again, while it is unfinished, is the same job.

    `said` are words of `take_in`: kind, name, license, base, draft, in_place, update. Raises what `source_of` raises,
    UnknownPath, InvalidSettings.
    """
    from workbench.errors import UnknownPath

    words = {name: value for name, value in said.items() if value}
    _require_known(words)
    source = source_of(text, roots)
    if is_path(source) and not Path(source).exists():
        raise UnknownPath(Path(source))
    spec = {"source": source, **words}
    return queue_of(registry).submit(KIND, spec, idempotency_key=f"{KIND} {source}")


def run_import(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind import; what was done before it is stopped stays."""
    from distill_jobs.errors import Stopped
    from workbench.intake.sources import take_in

    source, words = _order(context.spec)
    report = take_in(
        context.registry, source, tell=_teller(context), cancelled=lambda: context.cancelled() is not None, **words
    )
    if report.is_cancelled:
        raise Stopped(f"stopped after {len(report.imported)} of {source}; the next import goes on")
    return _result(report)


def is_path(source: str) -> bool:
    """Whether a checked source is a path of this machine."""
    return not source.startswith((SCHEME, *WEB))


def _order(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The source and the words of a job. Raises InvalidSettings, and ForbiddenPath where a link was put in its way."""
    words = {name: value for name, value in spec.items() if name != "source"}
    _require_known(words)
    source = str(spec.get("source", ""))
    if is_path(source):
        require_unmoved(source)
    return source, words


def _require_known(words: Mapping[str, Any]) -> None:
    if unknown := sorted(words.keys() - SAID):
        raise InvalidSettings(f"import: unknown {', '.join(unknown)}; expected {', '.join(sorted(SAID))}")


def _teller(context: "JobContext") -> Any:
    """Reports an import as steps of a job: its items, or the hundredths of a single one."""
    from distill_jobs import Progress

    def tell(paced: "Paced") -> None:
        done, total = paced.done_items, paced.total_items
        if total <= 1:
            done, total = int(PARTS * paced.done_bytes / max(paced.total_bytes, 1)), PARTS
        context.report(Progress(done, total, None, None, paced.seconds_left or 0.0, note=paced.note))

    return tell


def _result(report: "ImportReport") -> dict[str, Any]:
    return {
        "versions": [one.version for one in report.imported[:LISTED]],
        "imported": len(report.imported),
        "new": sum(one.is_new for one in report.imported),
        "unchanged": report.unchanged,
        "left": [{"path": str(one.path), "reason": one.reason} for one in report.left[:LISTED]],
        "left_count": len(report.left),
        "identified": len(report.identified),
    }
