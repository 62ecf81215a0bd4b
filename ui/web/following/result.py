"""What came out of a job: a version, pictures, a table of measures, the findings of a pre-flight."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from registry import RegistryError
from ui.web.following.findings import findings
from ui.web.navigation import GRID, link_to, link_to_page
from ui.web.pictures import Blobs, thumbnail
from ui.web.veil import BLURRED, is_hidden, unveil_pictures
from ui.web.words import plain
from workbench.jobs.queueing import queue_of
from workbench.painting.marks import is_job_marked

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

PICTURES_SHOWN = 24
SHOWN_APART = ("version", "pictures", "evaluation", "findings", "needs", "spec", "path")


def result(registry: "Registry", job: int) -> None:
    """The result of that job as people read it, or why there is none yet."""
    seen = queue_of(registry).get(job)
    if seen.result is None:
        st.caption("Nothing came out of it yet.")
        return
    if version := seen.result.get("version"):
        link_to(str(version), f"**{plain(str(version))}**", ":material/deployed_code:")
    _pictures(registry, seen)
    _evaluation(seen.result.get("evaluation"))
    findings(seen.result.get("findings") or ())
    _on_grid(seen)
    rest = {name: value for name, value in seen.result.items() if name not in SHOWN_APART and value is not None}
    if rest:
        st.dataframe([{"what": name, "value": str(value)} for name, value in rest.items()], hide_index=True)


def _on_grid(job: "Job") -> None:
    """The way to the page that shows a grid's cells."""
    if job.kind == "grid":
        link_to_page(GRID, "Open on the Grid page", ":material/apps:", job=str(job.id))


def _pictures(registry: "Registry", job: "Job") -> None:
    pictures: Sequence[Mapping[str, Any]] = (job.result or {}).get("pictures") or ()
    if not pictures:
        return
    is_marked = is_job_marked(registry, job)
    unveil_pictures(is_marked=is_marked)
    grid = st.grid("auto", min_column_width=180)
    for picture in pictures[:PICTURES_SHOWN]:
        with grid.cell():
            _picture(registry, picture, is_blurred=is_hidden(is_marked=is_marked))
    if len(pictures) > PICTURES_SHOWN:
        st.caption(f"and {len(pictures) - PICTURES_SHOWN} more")


def _picture(registry: "Registry", picture: Mapping[str, Any], *, is_blurred: bool) -> None:
    digest, record = str(picture["sha256"]), picture.get("record") or {}
    try:
        thumb = thumbnail(digest, Blobs(registry, [digest]), blurred=is_blurred)
    except RegistryError as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    alt = BLURRED if is_blurred else "What the job painted"
    st.image(thumb, width="stretch", output_format="PNG", alt=alt)
    st.caption(plain(f"{record.get('prompt', '')} seed {record.get('seed', '')}"))


def _evaluation(table: Mapping[str, Any] | None) -> None:
    """The measures of the exported checkpoint beside those of the teacher and the baselines."""
    if not table:
        return
    st.subheader(f"Measured after step {table['step']}", anchor=False)
    rows = [*table["rows"], *table["reference"]]
    st.dataframe(
        [
            {"who": row["name"], "evaluations": row.get("evaluations")}
            | {measure.replace("_", " "): number["mean"] for measure, number in row["measures"].items()}
            for row in rows
        ],
        hide_index=True,
    )
