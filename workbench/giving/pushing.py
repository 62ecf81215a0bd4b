"""Pushes a version to a repository of the Hub: what an export writes, as one commit that is recorded here.

What is there already is compared by hash first, so that pushing again sends nothing and makes no commit. The commit
replaces exactly the state that was compared: when somebody else writes in between, the Hub refuses it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from workbench.errors import DownloadFailed, HubRefused, InvalidAddress, NotPublished
from workbench.giving.exporting import Exported, export
from workbench.intake.hub import SCHEME, hash_of, parse_hub_address

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from registry import Registry, Version

MAIN = "main"
PATHS_A_REQUEST = 500
LONGEST_MESSAGE = 120
SHARED = ("published", "deprecated")
"""States of versions that others may have."""


@dataclass(frozen=True)
class Pushed:
    """What a push did, or with `dry_run` would do. `commit` is None only where there is none yet."""

    version: "Version"
    repo: str
    commit: str | None
    url: str
    is_new: bool
    """Whether the repository was made."""
    sent: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether there was anything to commit."""
        return bool(self.sent or self.removed)


@dataclass(frozen=True)
class _Remote:
    """What the repository holds of the paths in question, and the commit that was looked at."""

    exists: bool
    commit: str | None
    files: "dict[str, RepoFile]"


@dataclass(frozen=True)
class _Plan:
    """What has to be sent and removed, given what is there."""

    repo: str
    exported: Exported
    remote: _Remote
    sent: tuple[str, ...]
    removed: tuple[str, ...]


def push(
    registry: "Registry",
    ref: str,
    repo: str,
    *,
    layout: str | None = None,
    base_model: str | None = None,
    private: bool | None = None,
    message: str | None = None,
    replace: bool = False,
    endpoint: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Bring `repo` (OWNER/NAME or hf://OWNER/NAME) to hold the version, in one commit, and record which one that is.

    A push replaces and removes what an earlier push of the model left there, and nothing that somebody else wrote
    meanwhile, unless `replace` says so. `private` is how a repository that is not there yet is made, the account's
    default when None.

    Raises NotPublished for a draft, HubRefused, DownloadFailed, and what export refuses.
    """
    version = registry.get(ref)
    _require_shared(version)
    name = _repository(repo)
    last = registry.last_push(version.model, name)
    before = dict(last.files) if last else {}
    api = _client(endpoint)
    with TemporaryDirectory(prefix=".pushing-", dir=registry.home) as place:
        exported = export(
            registry, version.ref, Path(place) / "content", layout=layout, base_model=base_model, repo=name
        )
        with _hub_errors(name):
            plan = _plan(api, name, exported, before, replace=replace)
            commit = plan.remote.commit if dry_run else _carry_out(api, plan, private=private, message=message)
            arrived = {} if dry_run else _arrived(api, name, exported, str(commit))
        if not dry_run:
            registry.record_push(version, name, str(commit), arrived)
    return Pushed(
        version=version,
        repo=name,
        commit=commit,
        url=f"{api.endpoint}/{name}",
        is_new=not plan.remote.exists,
        sent=plan.sent,
        removed=plan.removed,
        unchanged=tuple(path for path in exported.paths if path not in plan.sent),
        warnings=exported.warnings,
    )


def _require_shared(version: "Version") -> None:
    if version.state not in SHARED:
        raise NotPublished(
            f"{version.ref}: is {version.state}, expected {' or '.join(SHARED)}. Publish it first: tau publish "
            f"{version.ref}"
        )


def _repository(text: str) -> str:
    address = parse_hub_address(text if text.startswith(SCHEME) else f"{SCHEME}{text}")
    if address.revision or address.path:
        raise InvalidAddress(f"{text}: a push goes to the main branch of a repository; name OWNER/NAME alone")
    return address.repo


def _client(endpoint: str | None) -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, library_name="tauworks")


def _plan(api: "HfApi", repo: str, exported: Exported, before: Mapping[str, str], *, replace: bool) -> _Plan:
    """Compare by hash what is to be there with what is. Raises HubRefused where somebody else's would be lost."""
    remote = _remote(api, repo, sorted({*exported.paths, *before}))
    sent = tuple(path for path in exported.paths if _differs(exported.folder / path, remote.files.get(path)))
    removed = tuple(sorted(path for path in before.keys() - set(exported.paths) if path in remote.files))
    if not replace:
        _require_ours(repo, remote, before, [*sent, *removed])
    return _Plan(repo, exported, remote, sent, removed)


def _carry_out(api: "HfApi", plan: _Plan, *, private: bool | None, message: str | None) -> str | None:
    """Make the repository where there is none, and the commit where there is something to commit; the newest commit."""
    if not plan.remote.exists:
        api.create_repo(plan.repo, private=private, exist_ok=True)
    return _commit(api, plan, message) if plan.sent or plan.removed else plan.remote.commit


def _remote(api: "HfApi", repo: str, paths: list[str]) -> _Remote:
    """What is at the paths now, all read at one commit."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        commit = api.model_info(repo).sha
    except RepositoryNotFoundError:
        return _Remote(False, None, {})
    return _Remote(True, commit, {} if commit is None else _files_at(api, repo, commit, paths))


def _files_at(api: "HfApi", repo: str, commit: str, paths: list[str]) -> "dict[str, RepoFile]":
    from huggingface_hub.hf_api import RepoFile

    found: list[Any] = []
    for start in range(0, len(paths), PATHS_A_REQUEST):
        found += api.get_paths_info(repo, paths[start : start + PATHS_A_REQUEST], revision=commit)
    return {file.path: file for file in found if isinstance(file, RepoFile)}


def _arrived(api: "HfApi", repo: str, exported: Exported, commit: str) -> dict[str, str]:
    """Path -> the Hub's hash of every file at the commit, each checked to be ours."""
    files = _files_at(api, repo, commit, list(exported.paths))
    wrong = [path for path in exported.paths if _differs(exported.folder / path, files.get(path))]
    if wrong:
        raise HubRefused(f"{SCHEME}{repo}@{commit}: holds other bytes than were sent: {', '.join(wrong)}; push again")
    return {path: _hash(file) for path, file in files.items()}


def _hash(file: "RepoFile") -> str:
    return file.lfs.sha256 if file.lfs else file.blob_id


def _require_ours(repo: str, remote: _Remote, before: Mapping[str, str], paths: Iterable[str]) -> None:
    """What is replaced or removed must be what the last push left."""
    present = ((path, remote.files[path]) for path in paths if path in remote.files)
    foreign = [path for path, file in present if before.get(path) != _hash(file)]
    if foreign:
        raise HubRefused(
            f"{SCHEME}{repo}: {', '.join(foreign[:5])}: written there by somebody else, or edited since the last push; "
            "look at it, then push with --replace"
        )


def _differs(path: Path, remote: "RepoFile | None") -> bool:
    """Whether the Hub's hash of a file is not that of ours: sha256 of a large one, git's of the others."""
    if remote is None or remote.size != path.stat().st_size:
        return True
    return hash_of(path, "sha256") != remote.lfs.sha256 if remote.lfs else hash_of(path, "git sha1") != remote.blob_id


def _commit(api: "HfApi", plan: _Plan, message: str | None) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from formats.scrubbing import scrub_text

    version = plan.exported.version
    made = api.create_commit(
        plan.repo,
        [
            *(CommitOperationAdd(path, plan.exported.folder / path) for path in plan.sent),
            *(CommitOperationDelete(path) for path in plan.removed),
        ],
        commit_message=message or scrub_text(f"{version.ref}: {version.title}")[:LONGEST_MESSAGE],
        revision=MAIN,
        parent_commit=plan.remote.commit,
    )
    return str(made.oid)


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """What the client raises, as errors of ours with the remedy."""
    from httpx2 import HTTPError
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
            raise HubRefused(
                f"{SCHEME}{repo}: the Hub does not let this account write there; log in with `hf auth login` and a "
                "token that may write"
            ) from error
        if status in (409, 412):
            raise HubRefused(f"{SCHEME}{repo}: somebody else wrote at the same time ({error}); push again") from error
        raise DownloadFailed(f"{SCHEME}{repo}: the Hub refused ({error}); try again later") from error
    except (errors.OfflineModeIsEnabled, HTTPError, RuntimeError) as error:  # a failed upload is a RuntimeError
        raise DownloadFailed(f"{SCHEME}{repo}: the Hub did not answer ({error}); try again later") from error
