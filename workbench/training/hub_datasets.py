"""Data sets from the Hub, through its own client: pinned to a commit, pictures, tables and captions alone, checked."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from workbench.errors import InvalidAddress
from workbench.intake.hub import HubAddress, HubSnapshot, commit_of, described, fetch, hub_errors

SCHEME = "hf://datasets/"
ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[A-Za-z0-9._-]+|[A-Za-z0-9][A-Za-z0-9._-]*))?"
    r"(?:/(?P<path>[^@%\\:;]+))?"
)
CAPTIONS = (".txt",)


@dataclass(frozen=True)
class HubDataset:
    """A data set of the Hub as it lies in the client's cache; `where` is the folder, file or pattern there."""

    where: str
    address: HubAddress
    commit: str
    license: str | None

    @property
    def pinned(self) -> str:
        """The address that means this commit for ever."""
        return self.address.spelled(self.commit)


def parse_dataset_address(text: str) -> HubAddress:
    """Take hf://datasets/owner/name[@revision][/path] apart. Raises InvalidAddress."""
    match = ADDRESS.fullmatch(text)
    if match is None or _has_empty_part(match["path"]):
        raise InvalidAddress(
            f"address {text!r}: expected {SCHEME}OWNER/NAME, with @REVISION and /PATH (a folder, a file, or a "
            "pattern of files) if wanted"
        )
    return HubAddress(match["repo"], match["revision"], match["path"], "dataset")


def bring_dataset(address: HubAddress, *, endpoint: str | None = None, cache: Path | None = None) -> HubDataset:
    """Download what is trained on of a data set at one commit. Raises NotThere, DownloadFailed, DatasetError."""
    from huggingface_hub import HfApi

    with hub_errors(address):
        info = HfApi(endpoint=endpoint).dataset_info(address.repo, revision=address.revision, files_metadata=True)
    commit = commit_of(address, info.sha)
    listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    chosen, patterns = _chosen(address, listed)
    files = described(address, listed, {name: name for name in chosen})
    folder = fetch(HubSnapshot(address, commit, files, {}), patterns=patterns, endpoint=endpoint, cache=cache)
    where = glob.escape(str(folder)) if _is_pattern(address.path) else str(folder)
    license = info.card_data.to_dict().get("license") if info.card_data else None
    return HubDataset(f"{where}/{address.path}" if address.path else where, address, commit, _one(license))


def _chosen(address: HubAddress, listed: Iterable[str]) -> tuple[list[str], list[str] | None]:
    """The files of the only kind of data that the address means, and patterns for the client where they are many."""
    from distill_jobs.data.folder import METADATA
    from distill_jobs.data.sources import kinds_in, require_one_kind

    inside = [name for name in listed if _means(address.path, name)]
    kind = require_one_kind(address.uri, [name.removeprefix(f"{address.path}/") for name in inside])
    if kind != "folder":
        return kinds_in(inside)[kind], None
    pictures = kinds_in(inside)[kind]
    suffixes = {PurePosixPath(name).suffix for name in pictures} | set(CAPTIONS)
    wanted = [name for name in inside if PurePosixPath(name).suffix in suffixes or name.endswith(METADATA)]
    within = f"{glob.escape(address.path)}/" if address.path else ""
    return wanted, [f"{within}*{suffix}" for suffix in sorted({*suffixes, METADATA})]


def _means(path: str | None, name: str) -> bool:
    """Whether a path (a folder, a file or a pattern) means a file; a pattern's * may mean more here than it will."""
    from distill_jobs.data.sources import expanded

    if path is None or name == path or name.startswith(f"{path}/"):
        return True
    return _is_pattern(path) and any(fnmatchcase(name, part.replace("**/", "*")) for part in expanded(path))


def _is_pattern(path: str | None) -> bool:
    from distill_jobs.data.sources import PATTERN

    return path is not None and PATTERN.search(path) is not None


def _has_empty_part(path: str | None) -> bool:
    return path is not None and any(part in ("", ".", "..") for part in path.split("/"))


def _one(license: object) -> str | None:
    """The licence that a card names; several are one text."""
    if isinstance(license, list):
        return ", ".join(str(part) for part in license) or None
    return license if isinstance(license, str) and license else None
