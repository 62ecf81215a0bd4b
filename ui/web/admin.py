"""The Admin page: what the registry holds, what may go, who works with it, and whether all is well."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.navigation import shared_registry
from ui.web.refusals import refusals_kept, refusals_shown, show_refusal
from ui.web.shortcuts import REFRESH
from ui.web.words import KINDS, plain, size_label, time_label
from workbench.keeping import collect_garbage, diagnose, people, storage

if TYPE_CHECKING:
    from registry import Registry
    from registry.storage.garbage import Swept
    from workbench.keeping import Diagnosis

SWEPT, DIAGNOSIS = "admin-swept", "admin-diagnosis"
SECONDS_AN_HOUR = 3600.0
GRACE_HOURS = 24.0
PROBLEMS_SHOWN = 200
PARTS = {
    "unreferenced": "files that nothing needs any more",
    "without_row": "bytes that no entry names",
    "staging": "left by imports that were killed",
    "uploads": "uploads that were never completed",
    "folders": "opened folders of removed versions",
    "copies": "local copies not opened for long",
}


def show() -> None:
    """The sections as tabs; the URL carries which one is open, and only that one is computed."""
    st.title("Admin", anchor=False)
    registry = shared_registry()
    show_refusal()
    sections: dict[str, Callable[[Registry], None]] = {
        "Storage": _storage,
        "Clean up": _clean_up,
        "Users": _users,
        "Doctor": _doctor,
    }
    tabs = st.tabs(list(sections), key="section", on_change="rerun", bind="query-params")
    for tab, section in zip(tabs, sections.values(), strict=True):
        if tab.open:
            with tab, refusals_shown():
                section(registry)


def _storage(registry: "Registry") -> None:
    found = storage(registry)
    held = found.holdings
    with st.container(horizontal=True):
        st.metric("Models", f"{held.models:,}", border=True, width=150)
        st.metric("Versions", f"{held.versions:,}", border=True, width=150)
        st.metric("Pictures", f"{held.pictures:,}", border=True, width=150)
        st.metric("Jobs", f"{held.jobs:,}", border=True, width=150)
        st.metric("Files", f"{held.blobs:,}", border=True, width=150)
        st.metric("Bytes, each file once", size_label(held.bytes), border=True, width=220)
        st.metric("Free on this disk", size_label(found.free_bytes), border=True, width=190)
    st.subheader("By kind", anchor=False)
    rows = [
        {"kind": KINDS.get(kind, kind), "versions": stock.versions, "bytes": size_label(stock.bytes)}
        for kind, stock in held.kinds.items()
    ]
    st.dataframe(rows, hide_index=True)
    for mode, size in held.places.items():
        st.caption(plain(f"{mode}: {size_label(size)}"))
    st.subheader("Where it lies", anchor=False)
    places = {"database": found.database, "files": found.blobs, "home": found.home}
    st.dataframe([{"what": what, "where": where} for what, where in places.items()], hide_index=True)
    st.button("Count again", icon=":material/refresh:", shortcut=REFRESH)


def _clean_up(registry: "Registry") -> None:
    """First what would go; then, after a second click, it goes."""
    st.markdown(
        "Removed versions keep their bytes for a while, so that they can be restored. What nothing has needed or"
        " touched for longer may go. Imports may go on meanwhile."
    )
    grace = st.number_input("Hours for which it must not have been needed", 0.0, value=GRACE_HOURS, width=320)
    st.button("See what may go", icon=":material/search:", on_click=_sweep, args=(grace,), kwargs={"dry_run": True})
    kept: tuple[float, Swept] | None = st.session_state.get(SWEPT)
    if kept is None or kept[0] != grace:
        return
    swept = kept[1]
    _swept(swept)
    if swept.dry_run and swept.bytes:
        sure = st.checkbox(f"Yes, delete {size_label(swept.bytes)} for good", key=f"sure-{swept.bytes}")
        icon = ":material/delete_forever:"
        st.button("Delete", icon=icon, type="primary", disabled=not sure, on_click=_sweep, args=(grace,))


@refusals_kept
def _sweep(grace: float, *, dry_run: bool = False) -> None:
    swept = collect_garbage(shared_registry(), grace=grace * SECONDS_AN_HOUR, dry_run=dry_run)
    st.session_state[SWEPT] = grace, swept


def _swept(swept: "Swept") -> None:
    rows = [
        {"what": PARTS[part.name], "how many": tally.count, "bytes": size_label(tally.bytes)}
        for part in fields(swept)
        if part.name in PARTS
        for tally in [getattr(swept, part.name)]
    ]
    st.dataframe(rows, hide_index=True)
    if not swept.dry_run:
        st.success(f"{size_label(swept.bytes)} were freed.", icon=":material/delete_sweep:")
    elif swept.bytes:
        st.info(f"{size_label(swept.bytes)} may go. Nothing was deleted yet.", icon=":material/info:")
    else:
        st.success("Nothing is left to clean up.", icon=":material/check:")


def _users(registry: "Registry") -> None:
    """Whoever is known, or has done something."""
    rows = [
        {
            "who": person.name,
            "role": person.role or "on this machine",
            "events": person.events,
            "last seen": time_label(person.last_seen) if person.last_seen else "",
            "favourites": person.favourites,
        }
        for person in people(registry)
    ]
    st.dataframe(rows, hide_index=True)
    st.caption(
        "These pages answer this machine alone, to whoever started them. Roles and tokens are for a team server,"
        " which asks for them."
    )


def _doctor(registry: "Registry") -> None:
    st.markdown("Checks the database, and whether every entry has its bytes and all bytes have an entry.")
    deep = st.checkbox("Read every byte: finds bit rot, and takes as long as reading takes")
    aside = st.checkbox("Move rotten files away, so that an import replaces them", disabled=not deep)
    if st.button("Check", type="primary", icon=":material/stethoscope:"):
        bar = st.progress(0.0, text="checking")
        found = diagnose(
            registry,
            deep=deep,
            set_aside=deep and aside,
            progress=lambda done, total: _advance(bar.progress, done, total),
        )
        bar.empty()
        st.session_state[DIAGNOSIS] = found
    if found := st.session_state.get(DIAGNOSIS):
        _diagnosis(found)


def _advance(show: Callable[..., object], done: int, total: int) -> None:
    show(min(1.0, done / total) if total else 1.0, text=f"{done:,} of {total:,}")


def _diagnosis(found: "Diagnosis") -> None:
    database, consistency = found.database, found.consistency
    if found.ok:
        st.success("Nothing is wrong.", icon=":material/check_circle:")
    for complaint in database.complaints:
        st.error(plain(f"database: {complaint}"), icon=":material/error:")
    if database.revision != database.expected:
        st.error(
            plain(f"The database is at schema {database.revision}, expected {database.expected}: tau db upgrade"),
            icon=":material/error:",
        )
    deep = ", every byte read" if consistency.deep else ""
    st.caption(plain(f"{consistency.checked:,} places checked{deep} · schema {database.revision} · {found.blobs}"))
    if consistency.counts:
        st.caption(plain(", ".join(f"{count} {wrong}" for wrong, count in consistency.counts.items())))
    rows = [
        {"wrong": str(one.wrong), "where": one.where, "detail": one.detail, "what helps": one.remedy}
        for one in consistency.problems[:PROBLEMS_SHOWN]
    ]
    if rows:
        st.dataframe(rows, hide_index=True)


if __name__ == "__main__":
    show()
