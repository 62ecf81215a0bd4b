"""Reading a job's log piece by piece: each piece says where the next one begins."""

import codecs
from dataclasses import dataclass
from pathlib import Path

from registry.errors import InvalidName

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class LogPiece:
    """Text of a log, and the byte at which the next piece begins."""

    text: str
    next_offset: int


def read_piece(path: Path | None, offset: int, limit: int, *, is_whole: bool) -> LogPiece:
    """At most `limit` bytes from byte `offset` on, cut where a character ends; empty where nothing new is there yet.

    Half a character at the end is left for the next piece, unless the log is whole: then it, like every byte that is no
    UTF-8, reads U+FFFD. So the pieces of a log, one after the other, are its text. Raises InvalidName.
    """
    if offset < 0:
        raise InvalidName(f"offset {offset}: expected 0 or the next_offset of the piece before.")
    if limit < 4:
        raise InvalidName(f"limit {limit}: expected 4 or more, the bytes of one character.")
    if path is None or not path.exists():
        return LogPiece("", offset)
    with path.open("rb") as log:
        log.seek(offset)
        found = log.read(limit)
        is_last = is_whole and not log.read(1)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(found, final=is_last)
    return LogPiece(text, offset + len(found) - len(decoder.getstate()[0]))
