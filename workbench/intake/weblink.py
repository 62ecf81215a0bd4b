"""Imports one safetensors file from a web address."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from workbench.errors import ChangedUpstream, NotImportable
from workbench.intake.addresses import Guard, shown, split_url
from workbench.intake.download import Fetched, Limits, fetch
from workbench.intake.scanning import ARCHIVES, PICKLES, WEIGHTS
from workbench.pace import Pace, Tell

if TYPE_CHECKING:
    from registry import Registry, Version


def import_url(
    registry: "Registry",
    url: str,
    *,
    update: bool = False,
    sha256: str | None = None,
    guard: Guard | None = None,
    limits: Limits | None = None,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
    **said: Any,
) -> "Version":
    """Fetch a safetensors file and register it; `said` are the words that `import_file` takes.

    `sha256` is what the file must have; `guard` and `limits` are those of the settings where None. An address that
    brought other bytes the last time is refused without `update`. Raises InvalidAddress, ForbiddenAddress,
    DownloadFailed and its kinds, NotImportable, ChangedUpstream, and what `import_file` raises.
    """
    from registry import Origin
    from registry.names import slug_of
    from workbench.intake.importing import import_file

    split_url(url)
    name = shown(url)
    with registry.store.staging.open() as folder:
        fetched = fetch(
            url,
            folder,
            guard or configured_guard(registry),
            limits or configured_limits(registry),
            accept=_require_weights,
            received=_received(name, tell),
            cancelled=cancelled,
        )
        _require_expected(registry, name, fetched, sha256, update=update)
        stem = PurePosixPath(fetched.name).stem
        source = fetched.path.rename(folder / f"{slug_of(stem)}{WEIGHTS}")
        words = {**said, "name": said.get("name") or slug_of(stem)}
        return import_file(registry, source, origin=Origin("url", name, fetched.sha256), **words)


def configured_guard(registry: "Registry", *hosts: str) -> Guard:
    """The guard of the settings, which `hosts` may pass too."""
    from workbench.opening import settings_of

    return Guard(settings_of(registry.home).url_hosts | set(hosts))


def configured_limits(registry: "Registry") -> Limits:
    """The limits of the settings."""
    from workbench.opening import settings_of

    return Limits(settings_of(registry.home).url_max_bytes)


def _require_weights(url: str, name: str) -> None:
    """Refuse by its name, before its bytes are read, what is no safetensors file."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == WEIGHTS:
        return
    if suffix in ARCHIVES:
        raise NotImportable(f"{shown(url)}: {name!r} is an archive; fetch and unpack it, then import the folder")
    if suffix in PICKLES:
        raise NotImportable(f"{shown(url)}: {name!r} is a pickle, which can run code; look for a safetensors file")
    raise NotImportable(f"{shown(url)}: the file is called {name!r}, expected NAME{WEIGHTS}; give its download address")


def _received(name: str, tell: Tell | None) -> Callable[[int, int | None], None]:
    pace: list[Pace] = []
    before = 0

    def received(size: int, total: int | None) -> None:
        nonlocal before
        if not pace:
            pace.append(Pace(total or size, 1, tell))
        pace[0].total_bytes = max(total or 0, size)
        pace[0].advance(size - before, name, items=0)
        before = size

    return received


def _require_expected(registry: "Registry", name: str, fetched: Fetched, sha256: str | None, *, update: bool) -> None:
    """Refuse bytes that are not those that were asked for, or not those that the address brought before."""
    from registry.origins import imported_from

    if sha256 is not None and fetched.sha256 != sha256.lower():
        raise ChangedUpstream(f"{name}: got sha256 {fetched.sha256}, expected {sha256.lower()}; do not trust this file")
    earlier = imported_from(registry.database, "url", name)
    if not earlier or update or any(fetched.sha256 in {a.sha256 for a in version.artifacts} for version in earlier):
        return
    last = earlier[0]
    raise ChangedUpstream(
        f"{name}: brings sha256 {fetched.sha256} now, {last.ref} came from it with {last.artifacts[0].sha256}. "
        "Import the change as the next version with --update"
    )
