"""Imports from a Hugging Face repository: pinned to a commit, safetensors alone, each byte checked by the Hub's hash.

A revision is resolved to its commit first and everything is read at that commit. A name that brought other bytes the
last time is refused, because a repository's name can change hands; the caller says so when the change is wanted.
"""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from workbench.errors import ChangedUpstream, DownloadCancelled, DownloadFailed, InvalidAddress, NotImportable, NotThere
from workbench.intake.hub_files import BASE_MARK, SAFETENSORS, choose_files
from workbench.pace import Pace, Tell

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

    from registry import Artifact, Registry, Version
    from registry.lookups import Statement

SCHEME = "hf://"
ADDRESS = re.compile(
    r"hf://(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[A-Za-z0-9._-]+|[A-Za-z0-9][A-Za-z0-9._-]*))?"
    r"(?:/(?P<path>[^@?#%\\:;]+))?"
)
COMMIT = re.compile(r"[0-9a-f]{40}")
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class HubAddress:
    """A repository, perhaps one revision of it, perhaps one file or folder in it; `repo_type` is model or dataset."""

    repo: str
    revision: str | None = None
    path: str | None = None
    repo_type: str = "model"

    @property
    def uri(self) -> str:
        """The name under which bytes of it are registered; the commit stands beside it."""
        return self.spelled()

    def spelled(self, revision: str | None = None) -> str:
        """The address at a revision."""
        among = "datasets/" if self.repo_type == "dataset" else ""
        at, path = f"@{revision}" if revision else "", f"/{self.path}" if self.path else ""
        return f"{SCHEME}{among}{self.repo}{at}{path}"


@dataclass(frozen=True)
class HubFile:
    """One file at one commit, and the name that it gets; the Hub tells the sha256 of large files, git's of others."""

    source: str
    name: str
    size: int
    sha256: str | None
    git_sha1: str | None

    def why_not(self, path: Path) -> str | None:
        """Why the bytes at `path` are not this file's; None where they are."""
        found = path.stat().st_size
        if found != self.size:
            return f"{found:,} bytes, expected {self.size:,}"
        kind, expected = ("sha256", self.sha256) if self.sha256 else ("git sha1", self.git_sha1)
        got = hash_of(path, kind)
        return None if got == expected else f"{kind} {got}, expected {expected}"


@dataclass(frozen=True)
class HubSnapshot:
    """What is imported of a repository: the commit, the files, and what its card says."""

    address: HubAddress
    commit: str
    files: tuple[HubFile, ...]
    card: Mapping[str, Any]

    @property
    def is_base(self) -> bool:
        """Whether it is a whole pipeline."""
        return any(file.name == BASE_MARK for file in self.files)

    @property
    def is_one_file(self) -> bool:
        """Whether it is a weight file on its own, and not the folder of a model."""
        return len(self.files) == 1


def parse_hub_address(text: str) -> HubAddress:
    """Take hf://owner/repo[@revision][/file] apart. Raises InvalidAddress."""
    match = ADDRESS.fullmatch(text)
    if match is None or ".." in text or any(part in ("", ".") for part in (match["path"] or "path").split("/")):
        raise InvalidAddress(f"address {text!r}: expected hf://OWNER/REPO, with @REVISION and /FILE if wanted")
    return HubAddress(match["repo"], match["revision"], match["path"])


def import_hub(
    registry: "Registry",
    text: str,
    *,
    update: bool = False,
    endpoint: str | None = None,
    cache: Path | None = None,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
    **said: Any,
) -> "Version":
    """Register what a repository offers; `said` are the words that `import_file` takes, and they go first.

    `endpoint` and `cache` are the client's own (HF_ENDPOINT, HF_HOME) where None. Raises InvalidAddress, NotThere,
    DownloadFailed, DownloadCancelled, NotImportable, ChangedUpstream, and what `import_file` raises.
    """
    from registry import Origin
    from workbench.intake.importing import import_file

    snapshot = find_snapshot(parse_hub_address(text), endpoint)
    require_unchanged(registry, snapshot, update=update)
    address = snapshot.address
    with registry.store.staging.open() as folder:
        download(snapshot, folder, endpoint=endpoint, cache=cache, tell=tell, cancelled=cancelled)
        source = folder / snapshot.files[0].name if snapshot.is_one_file else folder
        words = {**said, "name": said.get("name") or default_name(address)}
        words["base"] = said.get("base") or (None if snapshot.is_base else external_base(snapshot.card))
        origin = Origin("hub", address.uri, snapshot.commit)
        return import_file(registry, source, origin=origin, statements=[card_statement(snapshot)], **words)


def find_snapshot(address: HubAddress, endpoint: str | None = None) -> HubSnapshot:
    """The commit that an address means now and the files that are imported of it. Raises NotThere, NotImportable."""
    from huggingface_hub import HfApi

    with hub_errors(address):
        info = HfApi(endpoint=endpoint).model_info(address.repo, revision=address.revision, files_metadata=True)
    card = info.card_data.to_dict() if info.card_data else {}
    return HubSnapshot(address, commit_of(address, info.sha), _files(address, info), card)


def commit_of(address: HubAddress, answered: str | None) -> str:
    """The commit that the Hub answered with. Raises DownloadFailed when it is none, or not the one asked for."""
    if answered is None or not COMMIT.fullmatch(answered):
        raise DownloadFailed(f"{address.uri}: the Hub names no commit for it, got {answered!r}; try again later")
    if address.revision and COMMIT.fullmatch(address.revision) and answered != address.revision:
        raise DownloadFailed(f"{address.uri}: asked for commit {address.revision}, the Hub answered with {answered}")
    return answered


def require_unchanged(registry: "Registry", snapshot: HubSnapshot, *, update: bool) -> None:
    """Refuse other bytes under a name that was imported before, unless the change, or this commit, was asked for.

    Other bytes under a commit that was imported before are refused in any case.
    """
    from registry.origins import imported_from

    address = snapshot.address
    earlier = imported_from(registry.database, "hub", address.uri)
    for version in earlier:
        changed = _changed(registry, version.artifacts, snapshot)
        if not changed:
            return
        if version.origin is not None and version.origin.revision == snapshot.commit:
            raise ChangedUpstream(
                f"{address.uri}: commit {snapshot.commit} is {version.ref} here, but {changed} differs now. "
                "A commit cannot change: do not trust this server"
            )
    if earlier and not update and address.revision != snapshot.commit:
        last = earlier[0]
        before = last.origin.revision if last.origin else None
        raise ChangedUpstream(
            f"{address.uri}: is at commit {snapshot.commit}; {last.ref} came from it at {before}, and since then "
            f"{_changed(registry, last.artifacts, snapshot)} changed. Import the change as the next version with "
            f"--update, or what was there before with {SCHEME}{address.repo}@{before}"
        )


def download(
    snapshot: HubSnapshot,
    folder: Path,
    *,
    endpoint: str | None = None,
    cache: Path | None = None,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Bring the files of a snapshot into `folder`, through the client's cache, each checked against the Hub's hash."""
    cached = fetch(snapshot, endpoint=endpoint, cache=cache, tell=tell, cancelled=cancelled)
    for file in snapshot.files:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        _show(Path(cached, file.source).resolve(), target)


def fetch(
    snapshot: HubSnapshot,
    *,
    patterns: Sequence[str] | None = None,
    endpoint: str | None = None,
    cache: Path | None = None,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Bring the files of a snapshot into the client's cache, each checked against the Hub's hash; the folder there.

    `patterns` are what the client is asked for, by default each file by name.
    """
    from huggingface_hub import snapshot_download

    address = snapshot.address
    with hub_errors(address):
        cached = snapshot_download(
            address.repo,
            repo_type=address.repo_type,
            revision=snapshot.commit,
            allow_patterns=patterns or [glob.escape(file.source) for file in snapshot.files],
            cache_dir=cache,
            endpoint=endpoint,
            tqdm_class=_bar(snapshot, tell, cancelled),
        )
    for file in snapshot.files:
        source = Path(cached, file.source).resolve()
        if reason := file.why_not(source):
            raise DownloadFailed(f"{address.uri}: {file.source}: {reason}. Remove {source} and import it again")
    return Path(cached)


def hash_of(path: Path, kind: str) -> str:
    """The sha256 of a file, or the sha1 that git gives its content."""
    size = path.stat().st_size
    hashed = hashlib.sha256() if kind == "sha256" else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hashed.update(chunk)
    return hashed.hexdigest()


def card_statement(snapshot: HubSnapshot) -> "Statement":
    """What the repository's card says; it fills in the licence, the words and the tags where they are blank."""
    from registry.lookups import Offer, Statement

    card, address = snapshot.card, snapshot.address
    prompt, tags = card.get("instance_prompt"), card.get("tags")
    offer = Offer(
        license=_text(card.get("license_name")) or _text(card.get("license")),
        trigger_words=(prompt.strip(),) if isinstance(prompt, str) and prompt.strip() else (),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
    )
    page = f"https://huggingface.co/{address.repo}/tree/{snapshot.commit}"
    document = {"repo": address.repo, "commit": snapshot.commit, "revision": address.revision, "card": dict(card)}
    return Statement("hub", page, document, offer)


def external_base(card: Mapping[str, Any]) -> str | None:
    """The base that the card names, as an external reference; None where it names none or several."""
    named = card.get("base_model")
    named = named[0] if isinstance(named, list) and len(named) == 1 else named
    return f"external:{named}" if isinstance(named, str) and named else None


def default_name(address: HubAddress) -> str:
    """The model's name that an address suggests: its file's, else its repository's."""
    from registry.names import slug_of

    return slug_of(PurePosixPath(address.path).stem if address.path else address.repo.split("/")[1])


def _files(address: HubAddress, info: "ModelInfo") -> tuple[HubFile, ...]:
    listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    if address.path in listed:
        if not address.path.endswith(SAFETENSORS):
            raise NotImportable(f"{address.uri}: no safetensors file; name one that is")
        chosen: Mapping[str, str] = {address.path: PurePosixPath(address.path).name}
    else:
        within = f"{address.path}/" if address.path else ""
        inside = [name.removeprefix(within) for name in listed if name.startswith(within)]
        chosen = {f"{within}{name}": name for name in choose_files(inside)}
    if not chosen:
        raise NotImportable(_why_nothing(address, listed))
    return described(address, listed, chosen)


def described(
    address: HubAddress, listed: "Mapping[str, RepoSibling]", chosen: Mapping[str, str]
) -> tuple[HubFile, ...]:
    """The files {path there: name here} with the sizes and hashes that the Hub gives. Raises DownloadFailed."""
    from registry.blobs.filesystem import safe_relative_path

    files = []
    for source, name in chosen.items():
        sibling = listed[source]
        safe_relative_path(source)
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        if sibling.size is None or not (sha256 or sibling.blob_id):
            raise DownloadFailed(f"{address.uri}: the Hub gives no size or no hash of {source}; try again later")
        files.append(HubFile(source, name, sibling.size, sha256, sibling.blob_id))
    return tuple(files)


def _why_nothing(address: HubAddress, listed: Iterable[str]) -> str:
    weights = sorted(name for name in listed if name.endswith(SAFETENSORS))
    if not weights:
        return f"{address.uri}: no safetensors file in it (pickles are not fetched); convert it to safetensors first"
    shown = ", ".join(weights[:10])
    return f"{address.uri}: {len(weights)} weight files ({shown}); name one: {SCHEME}{address.repo}/{weights[0]}"


def _changed(registry: "Registry", artifacts: "Iterable[Artifact]", snapshot: HubSnapshot) -> str:
    """The files of a snapshot that differ from registered ones, as a text; empty where none does."""
    before = {artifact.path: artifact for artifact in artifacts}
    now = {("weights" + SAFETENSORS if snapshot.is_one_file else file.name): file for file in snapshot.files}
    changed = sorted(before.keys() ^ now.keys())
    for path in sorted(before.keys() & now.keys()):
        artifact, file = before[path], now[path]
        if file.sha256 is not None:
            same = artifact.sha256 == file.sha256
        else:
            same = file.why_not(registry.blob_path(artifact.sha256)) is None
        if not same:
            changed.append(path)
    return ", ".join(changed)


def _bar(snapshot: HubSnapshot, tell: Tell | None, cancelled: Callable[[], bool] | None) -> Any:
    """A silent progress bar for the client, which tells how many bytes came and stops when that is wanted."""
    from huggingface_hub.utils import tqdm

    pace = Pace(sum(file.size for file in snapshot.files), len(snapshot.files), tell)

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B" and "transfer" not in str(options.get("name"))
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if cancelled is not None and cancelled():
                raise DownloadCancelled(f"{snapshot.address.uri}: cancelled")
            if self._counts_bytes:
                pace.advance(int(n or 0), snapshot.address.uri, items=0)

    return Bar


@contextmanager
def hub_errors(address: HubAddress) -> Iterator[None]:
    """What the client raises, as errors of ours with the remedy."""
    from httpx2 import HTTPError
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise NotThere(
            f"{address.uri}: access must be asked for on its page; then log in with `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        at = f" at {address.revision}" if address.revision else ""
        raise NotThere(
            f"{address.uri}: the Hub knows no such thing{at}; check it, or log in with `hf auth login`"
        ) from error
    except errors.HFValidationError as error:
        raise InvalidAddress(f"{address.uri}: {error}") from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, HTTPError, OSError) as error:
        raise DownloadFailed(f"{address.uri}: the Hub did not answer ({error}); try again later") from error


def _show(source: Path, target: Path) -> None:
    """The cached file under the name that it gets, for as long as the import lasts: a link, or else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
