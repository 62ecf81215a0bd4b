"""Asks an outside service what it knows of a version's bytes; off unless a service is configured.

What it says is kept beside what is known here and fills in blanks alone. A failure changes nothing that was known, and
a wrong match can be unlinked, for good.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workbench.errors import DownloadFailed, ForbiddenAddress, LookupsAreOff, NotImportable, NotThere
from workbench.intake.addresses import Guard
from workbench.intake.download import Limits, fetch_document
from workbench.intake.sidecars import civitai_statement

if TYPE_CHECKING:
    from registry import Registry, Version
    from registry.lookups import Lookup, Statement

CIVITAI = "civitai"
AUTOV3_DIGITS = 12
"""How much of the data section's sha256 Civitai calls AutoV3."""

STALL_SECONDS = 20.0
MAX_ANSWER_BYTES = 8 << 20


def look_up(registry: "Registry", ref: str, *, endpoint: str | None = None, guard: Guard | None = None) -> "Lookup":
    """Ask by the hashes of a version's weight file; the answer as it was kept, `missing` and `failed` ones included.

    Asked is the sha256 of the file, and, where nobody knows that, the first digits of its data section's, which an
    edit of the header does not change. `endpoint` is TAU_LOOKUP_URL where None. A match that was unlinked before stays
    unlinked. Raises LookupsAreOff, NotImportable for a version of many files, and NotFound.
    """
    from registry.lookups import Lookups

    version = registry.get(ref)
    address = endpoint or configured_endpoint(registry)
    known = _known_hashes(registry, version)
    lookups = Lookups(registry.database)
    try:
        statement = _ask(address, known, guard or _guard(registry, address))
    except NotThere:
        return lookups.record(version.ref, CIVITAI, "missing", uri=address)
    except (DownloadFailed, ForbiddenAddress):
        return lookups.record(version.ref, CIVITAI, "failed", uri=address)
    return lookups.record(
        version.ref,
        CIVITAI,
        "found",
        uri=statement.uri,
        document=statement.document,
        offer=statement.offer,
        linked=any(statement.is_about(digits) for digits in known),
    )


@dataclass(frozen=True)
class Unasked:
    """A reference about which nobody could be asked, and why."""

    reference: str
    reason: str


def look_up_all(registry: "Registry", references: Iterable[str]) -> "Iterator[Lookup | Unasked]":
    """Ask about one version after the other: each answer, or why there is none. Raises LookupsAreOff."""
    from registry import RegistryError

    endpoint = configured_endpoint(registry)
    for reference in references:
        try:
            yield look_up(registry, reference, endpoint=endpoint)
        except (RegistryError, NotImportable) as error:
            yield Unasked(reference, str(error))


def unlink(registry: "Registry", ref: str, service: str | None = None) -> "list[Lookup]":
    """Declare what a service (every service, for None) said of a version wrong; what it filled in is taken back."""
    from registry.lookups import Lookups

    return Lookups(registry.database).unlink(ref, service)


def lookups_of(registry: "Registry", ref: str) -> "list[Lookup]":
    """Everything that was said about a version, oldest first."""
    from registry.lookups import Lookups

    return Lookups(registry.database).of(ref)


def ask_civitai(endpoint: str, digits: str, guard: Guard) -> "Statement":
    """What a service of Civitai's kind says about a hash. Raises NotThere, DownloadFailed and ForbiddenAddress."""
    url = f"{endpoint.rstrip('/')}/model-versions/by-hash/{digits.upper()}"
    document = fetch_document(url, guard, Limits(MAX_ANSWER_BYTES, STALL_SECONDS))
    try:
        return civitai_statement(document, url)
    except ValueError as error:
        raise DownloadFailed(f"{url}: {error}; check TAU_LOOKUP_URL") from error


def _ask(endpoint: str, known: tuple[str, ...], guard: Guard) -> "Statement":
    """The answer to the first hash that the service knows; a short one must be in the answer to count."""
    for digits in known:
        try:
            statement = ask_civitai(endpoint, digits, guard)
        except NotThere:
            continue
        if len(digits) > AUTOV3_DIGITS or digits in statement.hashes:
            return statement
    raise NotThere(f"{endpoint}: knows none of {', '.join(known)}")


def _known_hashes(registry: "Registry", version: "Version") -> tuple[str, ...]:
    from registry.origins import other_digests

    sha256 = weight_digest(version)
    other = other_digests(registry.database, sha256)
    data = other.data_sha256 if other else None
    return (sha256, data[:AUTOV3_DIGITS]) if data else (sha256,)


def weight_digest(version: "Version") -> str:
    """The sha256 of a version's only weight file. Raises NotImportable where it has none or several."""
    weights = [artifact.sha256 for artifact in version.artifacts if artifact.path.endswith(".safetensors")]
    if len(weights) != 1:
        raise NotImportable(f"{version.ref}: has {len(weights)} weight files; a service knows single files alone")
    return weights[0]


def configured_endpoint(registry: "Registry") -> str:
    """The service of the settings. Raises LookupsAreOff where none is set."""
    from workbench.opening import settings_of

    endpoint = settings_of(registry.home).lookup_url
    if not endpoint:
        raise LookupsAreOff(
            "look-ups are off: nothing leaves this machine. To ask a service by hash, set TAU_LOOKUP_URL, "
            "such as https://civitai.com/api/v1"
        )
    return endpoint


def _guard(registry: "Registry", endpoint: str) -> Guard:
    """The settings' guard; the configured service may lie in a private network, what it redirects to may not."""
    from workbench.intake.weblink import configured_guard

    return configured_guard(registry, urlsplit(endpoint).netloc.lower())
