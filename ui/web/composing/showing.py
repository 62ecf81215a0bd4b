"""A painter's work on a page: the picture, or how far it is, or why there is none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from PIL import Image

from registry import CorruptBlob, NotFound
from ui.web.refusals import refuse
from ui.web.words import SOLVERS, plain, seconds_label, time_label
from workbench.outcomes import outcome_of

if TYPE_CHECKING:
    from registry import Preview, Registry
    from workbench.picture_watch import Watched

SIDE = 512
"""Pixels: a smaller picture is shown larger, its pixels sharp."""


def picture(registry: "Registry", watched: "Watched", *, key: str) -> None:
    """What was painted; until then the picture that stood here before, and how far the new one is."""
    if watched.pictures:
        st.session_state[f"picture-{key}"] = digest = watched.pictures[0]["sha256"]
        _image(registry, digest, str(watched.pictures[0]["record"].get("prompt", "")))
        return
    if watched.is_under_way:
        if before := st.session_state.get(f"picture-{key}"):
            _image(registry, before, "The picture before")
        st.progress(watched.share, text=progress_words(watched))
        return
    if watched.job.state in ("failed", "dead"):
        st.error(plain(watched.job.last_error or "The painting failed."), icon=":material/error:")


def stored_picture(registry: "Registry", preview: "Preview", *, key: str) -> None:
    """A picture that the registry keeps."""
    st.session_state[f"picture-{key}"] = preview.picture
    _image(registry, preview.picture, str(preview.settings.get("prompt", "")))


def stored_line(preview: "Preview") -> str:
    """How a kept picture was painted, and when."""
    return ", ".join([*_how(preview.settings), f"painted {time_label(preview.created_at)}"])


def _how(record: Mapping[str, Any]) -> list[str]:
    """Solver, steps and guidance, as far as they are recorded."""
    if "steps" not in record:
        return []
    solver = str(record.get("solver", ""))
    return [SOLVERS.get(solver, solver), f"{record['steps']} steps", f"guidance {record['guidance']:g}"]


def _image(registry: "Registry", digest: str, alt: str) -> None:
    """A stored picture; a blob that is no longer whole is said in its place."""
    try:
        path = registry.blob_path(digest)
    except (CorruptBlob, NotFound) as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    st.image(enlarged(digest, path), width="stretch", output_format="PNG", alt=alt)


@st.cache_data(max_entries=256, show_spinner=False)
def enlarged(digest: str, _path: Path) -> bytes:
    """The picture's PNG, a small one enlarged by a whole factor; kept by `digest`, for blobs never change."""
    with Image.open(_path) as found:
        factor = SIDE // max(found.size)
        if factor < 2:
            return _path.read_bytes()
        large = found.resize((found.width * factor, found.height * factor), Image.Resampling.NEAREST)
    buffer = BytesIO()
    large.save(buffer, format="PNG")
    return buffer.getvalue()


def progress_words(
    watched: "Watched", waiting: str = "Waiting for a painter", working: str = "A painter is at work"
) -> str:
    """`A painter is at work, step 3 of 8, about 2 s left`; of a job that waits, when it will be done."""
    progress = watched.job.progress
    said = [waiting] if watched.job.state == "queued" else [working]
    if progress.get("steps"):
        said.append(f"step {progress.get('step', 0)} of {progress['steps']}")
    if watched.seconds_left is not None:
        said.append(f"about {seconds_label(watched.seconds_left)} left")
    return ", ".join(said)


def state_line(watched: "Watched") -> str:
    """What came of a job, in one line: how it was painted, what that cost, and where it is listed."""
    job, result = watched.job, watched.job.result or {}
    told = _how(watched.pictures[0]["record"]) if watched.pictures else []
    if watched.pictures:
        told += [f"{result['evaluations']} evaluations", seconds_label(result["seconds"])]
    elif job.state == "cancelled":
        told.append("cancelled")
    return ", ".join([*told, f"job {job.id}"])


@contextmanager
def refused() -> Iterator[None]:
    """Inside, what is refused is said on the page; an error that nobody foresaw passes through."""
    try:
        yield
    except Exception as error:
        if outcome_of(error) is None:
            raise
        refuse(error)
