"""A painter's work on a page: the picture, or how far it is, or why there is none."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from PIL import Image

from registry import CorruptBlob, NotFound
from ui.web.pictures import Blobs, thumbnail
from ui.web.veil import BLURRED, is_hidden
from ui.web.words import SOLVERS, plain, seconds_label, time_label

if TYPE_CHECKING:
    from registry import Preview, Registry
    from workbench.painting.watching import Watched

SIDE = 512
"""Pixels: a smaller picture is shown larger, its pixels sharp."""


def picture(registry: "Registry", watched: "Watched", *, key: str, is_marked: bool) -> None:
    """What was painted; until then the picture that stood here before, and how far the new one is."""
    if watched.pictures:
        st.session_state[f"picture-{key}"] = digest = watched.pictures[0]["sha256"]
        _image(registry, digest, str(watched.pictures[0]["record"].get("prompt", "")), is_marked=is_marked)
        return
    if watched.is_under_way:
        if before := st.session_state.get(f"picture-{key}"):
            _image(registry, before, "The picture before", is_marked=is_marked)
        st.progress(watched.share, text=progress_words(watched))
        return
    if watched.job.state in ("failed", "dead"):
        st.error(plain(watched.job.last_error or "The painting failed."), icon=":material/error:")


def stored_picture(registry: "Registry", preview: "Preview", *, key: str, is_marked: bool) -> None:
    """A picture that the registry keeps."""
    st.session_state[f"picture-{key}"] = preview.picture
    _image(registry, preview.picture, str(preview.settings.get("prompt", "")), is_marked=is_marked)


def stored_line(preview: "Preview") -> str:
    """How a kept picture was painted, and when."""
    return ", ".join([*_how(preview.settings), f"painted {time_label(preview.created_at)}"])


def _how(record: Mapping[str, Any]) -> list[str]:
    """Solver, steps and guidance, as far as they are recorded."""
    if "steps" not in record:
        return []
    solver = str(record.get("solver", ""))
    return [SOLVERS.get(solver, solver), f"{record['steps']} steps", f"guidance {record['guidance']:g}"]


def _image(registry: "Registry", digest: str, alt: str, *, is_marked: bool) -> None:
    """A stored picture, blurred where it has to be; a blob that is no longer whole is said in its place."""
    hides = is_hidden(is_marked=is_marked)
    try:
        shown = _blurred(registry, digest) if hides else enlarged(digest, registry.blob_path(digest))
    except (CorruptBlob, NotFound) as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    st.image(shown, width="stretch", alt=BLURRED if hides else alt)


def _blurred(registry: "Registry", digest: str) -> bytes:
    return thumbnail(digest, Blobs(registry, [digest]), blurred=True)


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
