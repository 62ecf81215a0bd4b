from pathlib import Path

import pytest

from registry import InvalidName, NotFound
from registry.jobs import Lease, Queue
from registry.jobs.logs import read_piece

TEXT = "Schritt 1\naß € 𝄞\n"


@pytest.fixture
def lease(queue: Queue, tmp_path: Path) -> Lease:
    queue.submit("x", {})
    claimed = queue.claim("worker")
    assert claimed is not None
    queue.attach_log(claimed, str(tmp_path / "job.log"))
    return claimed


@pytest.mark.parametrize("limit", range(4, 30))
def test_the_pieces_of_a_log_are_its_text_whatever_their_size(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "log"
    path.write_text(TEXT)
    offset, pieces = 0, []
    while (piece := read_piece(path, offset, limit, is_whole=True)).text:
        offset = piece.next_offset
        pieces.append(piece.text)
    assert "".join(pieces) == TEXT
    assert offset == path.stat().st_size


def test_half_a_character_waits_for_its_other_half(queue: Queue, lease: Lease, tmp_path: Path) -> None:
    path, euro = tmp_path / "job.log", "€".encode()
    path.write_bytes(b"costs " + euro[:2])
    piece = queue.log(lease.job.id)
    assert (piece.text, piece.next_offset) == ("costs ", 6)
    path.write_bytes(b"costs " + euro)
    assert queue.log(lease.job.id, piece.next_offset).text == "€"


def test_half_a_character_that_nobody_will_complete_is_shown_as_such(
    queue: Queue, lease: Lease, tmp_path: Path
) -> None:
    (tmp_path / "job.log").write_bytes(b"costs \xe2\x82")
    queue.finish(lease, {})
    piece = queue.log(lease.job.id)
    assert (piece.text, piece.next_offset) == ("costs \N{REPLACEMENT CHARACTER}", 8)


def test_a_log_that_has_grown_is_read_from_where_it_was(queue: Queue, lease: Lease, tmp_path: Path) -> None:
    assert queue.log(lease.job.id).text == ""
    path = tmp_path / "job.log"
    path.write_text("one\n")
    first = queue.log(lease.job.id)
    with path.open("a") as log:
        log.write("two\n")
    assert (first.text, queue.log(lease.job.id, first.next_offset).text) == ("one\n", "two\n")
    assert queue.log(lease.job.id, 999).text == ""
    assert queue.log(lease.job.id, 2, limit=4).text == "e\ntw"


def test_a_job_that_never_ran_has_an_empty_log(queue: Queue) -> None:
    assert queue.log(queue.submit("x", {}).id).text == ""
    with pytest.raises(NotFound, match="no job has number 99"):
        queue.log(99)


def test_offsets_and_limits_that_cannot_be_are_refused(queue: Queue, lease: Lease, tmp_path: Path) -> None:
    with pytest.raises(InvalidName, match="offset -1: expected 0"):
        queue.log(lease.job.id, -1)
    with pytest.raises(InvalidName, match="limit 3: expected 4 or more"):
        queue.log(lease.job.id, limit=3)
