"""Blobs in a bucket of any S3-compatible store, under the same names as on a disk, and local copies of what is used.

Credentials, region and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL. An upload that is broken off can leave invisible parts behind; a lifecycle rule of the bucket
(AbortIncompleteMultipartUpload) clears them.
"""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from registry.blobs.staging import StagedFile, Staging
from registry.blobs.store import PART_BYTES, PREFIXES, READ_BYTES, UNOPENED_SECONDS, Found, key_of, missing
from registry.errors import CorruptBlob, Unreachable, Unsupported

SCHEME = "s3://"
FOLDERS = frozenset(PREFIXES)
PARALLEL_PARTS = 4
RETRIES = 5
RETRY_SECONDS = 60
STAGED = ".new"
"""How the names of bytes end that are no piece of an upload yet."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class S3Blobs:
    """A store at `s3://bucket/prefix`; `folder` keeps verified copies of the blobs that were opened on this machine."""

    def __init__(self, address: str, folder: Path) -> None:
        bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
        if not address.startswith(SCHEME) or not bucket:
            raise Unsupported(f"TAU_BLOB_URL {address!r}: expected s3://bucket or s3://bucket/prefix.")
        self.address = address
        self.folder = folder.absolute()
        self.staging = Staging(self.folder / "staging")
        endpoint = next((os.environ[name] for name in ENDPOINTS if name in os.environ), "")
        self._bucket = S3Store(
            bucket,
            prefix=prefix.strip("/") or None,
            client_options={"allow_http": endpoint.startswith("http://")},
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        )

    def send(self, staged: StagedFile) -> bool:
        """Upload ahead of the transaction, so that it stays short: placing then only looks.

        A small blob is a single conditional put. The parts of a big one become an object all at once, and whoever is
        first or second writes the same bytes. An object that is there already stays where its ETag proves its bytes;
        otherwise, since these are certain, they take its place.
        """
        key, size = key_of(staged.digests.sha256), staged.digests.size
        with self._asking():
            if size <= PART_BYTES and self._create(key, staged.path.read_bytes()):
                return True
            if self._proves(staged):
                return False
            obstore.put(self._bucket, key, staged.path, chunk_size=PART_BYTES, max_concurrency=PARALLEL_PARTS)
        return True

    def place(self, staged: StagedFile) -> bool:
        """Make sure under the lock that the bytes are there; False when they are."""
        return not self._has(staged) and self.send(staged)

    def settle(self, digests: Sequence[str]) -> None:
        """Nothing to do: a store that has said yes has them."""

    def path_of(self, sha256: str, size: int) -> Path:
        """A local copy, fetched and verified when there is none yet."""
        path = self.folder / key_of(sha256)
        if path.is_file() and path.stat().st_size == size:
            os.utime(path)
            return path
        with self.staging.open() as folder:
            fresh = folder / sha256
            self._fetch(sha256, size, fresh)
            fresh.chmod(0o444)
            path.parent.mkdir(parents=True, exist_ok=True)
            return fresh.replace(path)

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, straight from the bucket."""
        if start == stop:
            return
        with self._asking():
            try:
                got = obstore.get(self._bucket, key_of(sha256), options={"range": (start, stop)})
            except FileNotFoundError:
                raise missing(self._shown(sha256), "no object", stop - start) from None
            yield from map(bytes, got.stream(min_chunk_size=READ_BYTES))

    def find(self, sha256: str) -> Found | None:
        """What lies at the address of `sha256`."""
        with self._asking():
            try:
                said = obstore.head(self._bucket, key_of(sha256))
            except FileNotFoundError:
                return None
        return Found(sha256, said["size"], said["last_modified"].timestamp())

    def listed(self) -> Iterator[Found]:
        """The objects, page by page; those of other folders come after all blobs."""
        with self._asking():
            for page in obstore.list(self._bucket):
                for said in page:
                    prefix, _, name = said["path"].partition("/")
                    if prefix in FOLDERS:
                        yield Found(name, said["size"], said["last_modified"].timestamp())
                    elif prefix > PREFIXES[-1]:
                        return

    def remove(self, digests: Sequence[str]) -> None:
        """Delete the objects, and the local copies."""
        with self._asking():
            obstore.delete(self._bucket, [key_of(sha256) for sha256 in digests])
        for sha256 in digests:
            (self.folder / key_of(sha256)).unlink(missing_ok=True)

    def set_aside(self, sha256: str) -> str:
        """Move the object below `set-aside/`."""
        found = self.find(sha256)
        if found is None:
            raise missing(self._shown(sha256), "no object", 0)
        with self.staging.open() as folder, self._asking():
            copy = folder / sha256
            self._save(sha256, found.size, copy)
            obstore.put(self._bucket, f"set-aside/{sha256}", copy, chunk_size=PART_BYTES)
            self.remove([sha256])
        return f"{self.address}/set-aside/{sha256}"

    def evict(self, *, dry_run: bool) -> list[int]:
        """Remove the local copies that were not opened for a long time; they are fetched again when they are."""
        oldest, sizes = time.time() - UNOPENED_SECONDS, []
        for copy in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                status = copy.stat()
                if status.st_mtime < oldest:
                    if not dry_run:
                        copy.unlink()
                    sizes.append(status.st_size)
        return sizes

    def stage_part(self, upload: str, content: bytes) -> str:
        """One object for what is no piece yet."""
        name = f"{secrets.token_hex(8)}{STAGED}"
        with self._asking():
            obstore.put(self._bucket, f"uploads/{upload}/{name}", content, use_multipart=False)
        return name

    def put_part(self, upload: str, offset: int, staged: str) -> None:
        """One object a piece, named so that they sort by offset; the bytes do not leave the bucket for it."""
        with self._asking():
            obstore.rename(self._bucket, f"uploads/{upload}/{staged}", f"uploads/{upload}/{offset:020d}")

    def drop_part(self, upload: str, staged: str) -> None:
        """Delete a staged object."""
        with self._asking(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._bucket, f"uploads/{upload}/{staged}")

    def parts(self, upload: str) -> Iterator[bytes]:
        """The pieces in order, one in memory at a time."""
        for path in sorted(path for path in self._parts(upload) if not path.endswith(STAGED)):
            with self._asking():
                yield bytes(obstore.get(self._bucket, path).bytes())

    def drop_parts(self, upload: str) -> None:
        """Delete the pieces of an upload."""
        with self._asking():
            obstore.delete(self._bucket, list(self._parts(upload)))

    def uploads(self) -> Iterator[Found]:
        """Every prefix of pieces."""
        with self._asking():
            paths = obstore.list_with_delimiter(self._bucket, "uploads")["common_prefixes"]
        for name in (path.rpartition("/")[2] for path in paths):
            pieces = self._parts(name)
            if pieces:
                yield Found(name, sum(size for size, _ in pieces.values()), max(time for _, time in pieces.values()))

    def _parts(self, upload: str) -> dict[str, tuple[int, float]]:
        """The path of every piece of an upload, with its size and time."""
        with self._asking():
            pages = obstore.list(self._bucket, f"uploads/{upload}")
            return {said["path"]: (said["size"], said["last_modified"].timestamp()) for page in pages for said in page}

    def _proves(self, staged: StagedFile) -> bool:
        """Whether the object's ETag is the one that S3 gives to these bytes: their MD5, or that of their parts'."""
        try:
            said = obstore.head(self._bucket, key_of(staged.digests.sha256))
        except FileNotFoundError:
            return False
        own = (said["e_tag"] or "").strip('"')
        return said["size"] == staged.digests.size and own in _etags(staged.path)

    def _has(self, staged: StagedFile) -> bool:
        there = self.find(staged.digests.sha256)
        return there is not None and there.size == staged.digests.size

    def _create(self, key: str, content: bytes) -> bool:
        try:
            obstore.put(self._bucket, key, content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def _fetch(self, sha256: str, size: int, target: Path) -> None:
        """Save the bytes of a blob. Raises CorruptBlob when they are other ones."""
        got = self._save(sha256, size, target)
        if got != sha256:
            raise CorruptBlob(
                f"{self._shown(sha256)}: got bytes with sha256 {got}, expected {size:,} bytes with its own. "
                "Run `tau doctor --deep --set-aside`, then import the original file again."
            )

    def _save(self, sha256: str, size: int, target: Path) -> str:
        """Write what lies at the address of a blob to a file; the sha256 that it really has."""
        seen = hashlib.sha256()
        with target.open("wb") as file:
            for piece in self.read(sha256, 0, size):
                seen.update(piece)
                file.write(piece)
        return seen.hexdigest()

    def _shown(self, sha256: str) -> str:
        return f"{self.address}/{key_of(sha256)}"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Whatever the store refuses, as an error of ours."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise Unreachable(
                f"{self.address}: the blob store refused or did not answer: {_first_line(error)} "
                "Check AWS_ENDPOINT_URL, AWS_REGION, the credentials and the bucket's name."
            ) from error


def _etags(path: Path) -> frozenset[str]:
    """The ETags of a file that was put whole, and in parts of PART_BYTES."""
    parts, whole = [], hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PART_BYTES):
            whole.update(piece)
            parts.append(hashlib.md5(piece, usedforsecurity=False).digest())
    together = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return frozenset({whole.hexdigest(), f"{together}-{len(parts)}"})


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
