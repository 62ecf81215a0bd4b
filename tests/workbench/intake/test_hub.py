"""Importing from a Hugging Face repository, through the real client, from a server of the tests' own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry import InvalidName, Registry
from registry.lookups import Lookups
from workbench.errors import (
    ChangedUpstream,
    DownloadCancelled,
    DownloadFailed,
    InvalidAddress,
    NotImportable,
    NotThere,
)
from workbench.intake.hub import import_hub, parse_hub_address
from workbench.pace import Progress

Lora = Callable[..., bytes]
REPO = "someone/papercut"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The client's cache."""
    return tmp_path / "hub-cache"


@pytest.fixture
def pull(based: Registry, hub: Any, cache: Path) -> Iterator[Callable[..., Any]]:
    """pull(address, **words) imports from the test's server."""
    from huggingface_hub import close_session

    yield partial(import_hub, based, endpoint=hub.url, cache=cache)
    close_session()


def test_a_repository_is_pinned_to_the_commit_that_its_branch_means(pull: Any, hub: Any, lora: Lora) -> None:
    commit = hub.push(REPO, {"README.md": b"card", "papercut.safetensors": lora(1)})
    version = pull(f"hf://{REPO}")
    assert (version.ref, version.kind, version.family) == ("papercut:1", "style", "tiny")
    assert version.origin is not None
    assert (version.origin.kind, version.origin.uri, version.origin.revision) == ("hub", f"hf://{REPO}", commit)
    assert all(commit in line for line in hub.asked if "/resolve/" in line)


def test_importing_the_same_commit_again_is_the_same_version_and_downloads_nothing(
    pull: Any, hub: Any, lora: Lora
) -> None:
    hub.push(REPO, {"papercut.safetensors": lora(1)})
    first = pull(f"hf://{REPO}")
    hub.asked.clear()
    assert pull(f"hf://{REPO}").id == first.id
    assert not [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


def test_a_name_that_brings_other_bytes_is_refused_until_the_change_is_wanted(
    pull: Any, based: Registry, hub: Any, lora: Lora
) -> None:
    before = hub.push(REPO, {"papercut.safetensors": lora(1)})
    pull(f"hf://{REPO}")
    after = hub.push(REPO, {"papercut.safetensors": lora(2)})
    with pytest.raises(ChangedUpstream, match=rf"{after}.*papercut:1.*{before}.*weights\.safetensors.*--update"):
        pull(f"hf://{REPO}")
    assert [version.ref for version in based.search(kind="style")] == ["papercut:1"]
    assert pull(f"hf://{REPO}", update=True).ref == "papercut:2"
    assert pull(f"hf://{REPO}@{before}").ref == "papercut:1"


def test_naming_a_commit_is_wanting_it(pull: Any, hub: Any, lora: Lora) -> None:
    hub.push(REPO, {"papercut.safetensors": lora(1)})
    pull(f"hf://{REPO}")
    after = hub.push(REPO, {"papercut.safetensors": lora(2)})
    assert pull(f"hf://{REPO}@{after}").ref == "papercut:2"


def test_a_change_of_the_card_alone_changes_nothing(pull: Any, hub: Any, lora: Lora) -> None:
    hub.push(REPO, {"README.md": b"one", "papercut.safetensors": lora(1)})
    first = pull(f"hf://{REPO}")
    hub.push(REPO, {"README.md": b"two", "papercut.safetensors": lora(1)})
    assert pull(f"hf://{REPO}").id == first.id


def test_other_bytes_under_a_commit_that_was_imported_are_refused_in_any_case(pull: Any, hub: Any, lora: Lora) -> None:
    commit = hub.push(REPO, {"papercut.safetensors": lora(1)})
    pull(f"hf://{REPO}")
    hub.commits[REPO][commit] = {"papercut.safetensors": lora(2)}
    for address in (f"hf://{REPO}", f"hf://{REPO}@{commit}"):
        with pytest.raises(ChangedUpstream, match="A commit cannot change"):
            pull(address, update=True)


def test_bytes_that_are_not_what_the_hub_says_they_are_never_reach_the_catalog(
    pull: Any, based: Registry, hub: Any, lora: Lora
) -> None:
    hub.push(REPO, {"papercut.safetensors": lora(1)})
    hub.corrupt.add("papercut.safetensors")
    with pytest.raises(DownloadFailed, match=r"sha256 .* expected"):
        pull(f"hf://{REPO}")
    assert based.search(kind="style") == []


def test_a_small_file_is_checked_by_the_hash_that_git_gives_it(
    registry: Registry, hub: Any, cache: Path, base_folder: Path
) -> None:
    hub.push("someone/base", files_of(base_folder))
    hub.corrupt.add("unet/config.json")
    with pytest.raises(DownloadFailed, match=r"git sha1 .* expected"):
        import_hub(registry, "hf://someone/base", endpoint=hub.url, cache=cache)


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder as a repository's files."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_base_comes_as_a_folder_without_its_pickles(
    registry: Registry, hub: Any, cache: Path, base_folder: Path
) -> None:
    files = files_of(base_folder)
    hub.push("someone/base", {**files, "unet/diffusion_pytorch_model.bin": b"pickle", "README.md": b"card"})
    version = import_hub(registry, "hf://someone/base", endpoint=hub.url, cache=cache)
    assert (version.kind, [artifact.path for artifact in version.artifacts]) == ("base", sorted(files))
    assert not [line for line in hub.asked if line.endswith(".bin")]


def test_one_file_of_many_is_named_in_the_address(pull: Any, hub: Any, lora: Lora) -> None:
    hub.push(
        REPO, {"a.safetensors": lora(1), "b.safetensors": lora(2), "deep/c.safetensors": lora(3), "deep/d.bin": b"x"}
    )
    with pytest.raises(NotImportable, match=rf"3 weight files \(a\.safetensors, b\.safe.*; name one: hf://{REPO}/a"):
        pull(f"hf://{REPO}")
    version = pull(f"hf://{REPO}/deep/c.safetensors")
    assert (version.ref, version.origin.uri) == ("c:1", f"hf://{REPO}/deep/c.safetensors")
    assert pull(f"hf://{REPO}/deep").artifacts == version.artifacts
    with pytest.raises(NotImportable, match="no safetensors file"):
        pull(f"hf://{REPO}/deep/d.bin")


def test_a_repository_of_pickles_alone_is_refused(pull: Any, hub: Any) -> None:
    hub.push(REPO, {"pytorch_lora_weights.bin": b"pickle", "model.ckpt": b"pickle"})
    with pytest.raises(NotImportable, match="pickles are not fetched"):
        pull(f"hf://{REPO}")


def test_what_the_card_says_fills_in_blanks_and_is_kept(pull: Any, based: Registry, hub: Any, lora: Lora) -> None:
    hub.cards[REPO] = {
        "license": "openrail++",
        "base_model": "someone/tiny",
        "instance_prompt": "papercut",
        "tags": ["lora", "template:sd-lora"],
    }
    commit = hub.push(REPO, {"papercut.safetensors": lora(1)})
    version = pull(f"hf://{REPO}")
    assert (version.license, version.trigger_words) == ("openrail++", ("papercut",))
    assert set(version.tags) == {"lora", "template:sd-lora"}
    assert [edge.parent for edge in based.lineage(version.ref).edges] == ["external:someone/tiny"]
    (said,) = Lookups(based.database).of(version.ref)
    assert (said.service, said.uri) == ("hub", f"https://huggingface.co/{REPO}/tree/{commit}")
    assert said.document["card"] == hub.cards[REPO]


def test_the_callers_words_go_before_the_cards(pull: Any, based: Registry, hub: Any, lora: Lora) -> None:
    hub.cards[REPO] = {"license": "mit", "base_model": "someone/tiny"}
    hub.push(REPO, {"papercut.safetensors": lora(1)})
    version = pull(f"hf://{REPO}", name="mine", license="openrail++", base="tiny:1")
    assert (version.ref, version.license) == ("mine:1", "openrail++")
    assert [edge.parent for edge in based.lineage(version.ref).edges] == ["tiny:1"]


def test_what_is_not_there_says_what_is_missing(pull: Any, hub: Any, lora: Lora) -> None:
    hub.push(REPO, {"papercut.safetensors": lora(1)})
    with pytest.raises(NotThere, match="knows no such thing"):
        pull("hf://someone/nothing")
    with pytest.raises(NotThere, match="at v9"):
        pull(f"hf://{REPO}@v9")


def test_a_hub_that_does_not_answer_is_a_failure_that_can_be_tried_again(based: Registry, cache: Path) -> None:
    with pytest.raises(DownloadFailed, match="did not answer"):
        import_hub(based, f"hf://{REPO}", endpoint="http://127.0.0.1:9", cache=cache)


def test_progress_is_told_and_a_cancelled_download_leaves_no_version(
    pull: Any, based: Registry, hub: Any, lora: Lora
) -> None:
    content = lora(1)
    hub.push(REPO, {"papercut.safetensors": content})
    with pytest.raises(DownloadCancelled):
        pull(f"hf://{REPO}", cancelled=lambda: True)
    assert based.search(kind="style") == []
    told: list[Progress] = []
    pull(f"hf://{REPO}", tell=told.append)
    assert told[-1].done_bytes == len(content) == told[-1].total_bytes


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://a/b", ("a/b", None, None)),
        ("hf://a/b@main", ("a/b", "main", None)),
        ("hf://a/b@refs/pr/3", ("a/b", "refs/pr/3", None)),
        ("hf://a/b@v1.0/deep/x.safetensors", ("a/b", "v1.0", "deep/x.safetensors")),
        ("hf://a/b/x y.safetensors", ("a/b", None, "x y.safetensors")),
    ],
)
def test_an_address_is_a_repository_a_revision_and_a_file(text: str, parts: tuple[str | None, ...]) -> None:
    address = parse_hub_address(text)
    assert (address.repo, address.revision, address.path) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("hf://", "hf://a", "hf://a/", "hf:///b", "hf://a/b@", "hf://a/b/", "hf://a//b", "hf://.a/b", "HF://a/b"),
        *("hf://a/..", "hf://../b", "hf://a/b/../c", "hf://a/b@../x", "hf://a/b@-x", "hf://a/b/./c", "hf://a/b/c/.."),
        *("hf://a/b%2e%2e/c", "hf://a/b/%2e%2e/c", "hf://a/b/%252e", "hf://a/b?x=1", "hf://a/b#x", "hf://a/b/c#d"),
        *("hf://a/b\\c", "hf://a/b/..\\c", "hf://a/b;x", "hf://a/b/c;d", "hf://a/b\0", "hf://a/b/C:/x", "hf://a/b\n"),
    ],
)
def test_nothing_else_is_an_address(text: str) -> None:
    with pytest.raises(InvalidAddress, match="hf://OWNER/REPO"):
        parse_hub_address(text)


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/etc/evil.safetensors", "a\\..\\evil.safetensors", "..\\x.safetensors"]
)
def test_a_file_whose_name_leads_elsewhere_is_never_fetched(
    pull: Any, hub: Any, lora: Lora, tmp_path: Path, name: str
) -> None:
    hub.push(REPO, {name: lora(1)})
    with pytest.raises((NotImportable, InvalidName)):
        pull(f"hf://{REPO}")
    assert not [line for line in hub.asked if "/resolve/" in line]


def test_the_command_line_uses_the_clients_own_endpoint_and_cache(
    based: Registry, hub: Any, lora: Lora, tmp_path: Path
) -> None:
    hub.push(REPO, {"papercut.safetensors": lora(1)})
    environment = {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "ui.cli.main", "--home", str(based.home), "import", f"hf://{REPO}", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "papercut:1"), done.stderr
    assert (tmp_path / "hf" / "hub" / "models--someone--papercut").is_dir()
