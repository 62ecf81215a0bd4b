"""Which files were imported from where."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from registry.blobs.staging import FileStatus
from registry.known_files import PATHS_A_QUERY, known_files, remember
from registry.storage.check import Wrong

Write = Callable[..., Path]
pytestmark = pytest.mark.both_databases


def test_what_is_remembered_is_known_and_nothing_else(registry: Registry) -> None:
    sha256, status = registry.put_blob(b"content"), FileStatus(7, 1_700_000_000_123_456_789, 2**40)
    remember(registry.database, [("/models/a", sha256, status)])
    known = known_files(registry.database, ["/models/a", "/models/b"])
    assert list(known) == ["/models/a"]
    assert (known["/models/a"].sha256, known["/models/a"].status) == (sha256, status)
    assert known["/models/a"].checked_at is not None


def test_a_path_that_holds_other_bytes_now_is_known_by_those(registry: Registry) -> None:
    first, second = registry.put_blob(b"one"), registry.put_blob(b"two")
    remember(registry.database, [("/a", first, FileStatus(3, 1, 1))])
    remember(registry.database, [("/a", second, FileStatus(3, 2, 1))])
    assert known_files(registry.database, ["/a"])["/a"].sha256 == second


def test_a_file_that_is_cataloged_in_place_stays_that_and_is_known(registry: Registry, write_vector: Write) -> None:
    path = write_vector()
    version = registry.add(path, kind="other", name="in-place", in_place=True)
    sha256 = version.artifacts[0].sha256
    os.utime(path, (1, 1))
    remember(registry.database, [(str(path), sha256, FileStatus.of(path))])
    known = known_files(registry.database, [str(path)])[str(path)]
    assert (known.mode, known.status) == ("in-place", FileStatus.of(path))
    assert registry.file(version).exists()


def test_a_file_in_place_that_holds_other_bytes_now_is_known_by_those_and_the_lost_ones_are_reported(
    registry: Registry, write_vector: Write
) -> None:
    path = write_vector()
    registry.add(path, kind="other", name="first", in_place=True)
    write_vector(seed=1)
    second = registry.add(path, kind="other", name="second").artifacts[0].sha256
    remember(registry.database, [(str(path), second, FileStatus.of(path))])
    known = known_files(registry.database, [str(path)])[str(path)]
    assert (known.sha256, known.status, known.mode) == (second, FileStatus.of(path), "source")
    lost = registry.get("first").artifacts[0].sha256
    problems = registry.storage.check().problems
    assert [(problem.wrong, problem.where) for problem in problems] == [(Wrong.WITHOUT_BYTES, lost)]


def test_more_paths_than_one_query_takes_are_all_answered(registry: Registry) -> None:
    sha256 = registry.put_blob(b"content")
    paths = [f"/models/{number}" for number in range(PATHS_A_QUERY + 3)]
    remember(registry.database, [(path, sha256, FileStatus(7, 1, 1)) for path in paths])
    assert sorted(known_files(registry.database, paths)) == sorted(paths)


def test_the_blobs_own_address_is_no_known_path(registry: Registry) -> None:
    sha256 = registry.put_blob(b"content")
    assert known_files(registry.database, [f"{sha256[:2]}/{sha256}"]) == {}
