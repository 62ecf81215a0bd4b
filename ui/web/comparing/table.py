"""What differs between the compositions, field by field."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from workbench.recipes.side_by_side import side_by_side

if TYPE_CHECKING:
    from workbench.recipes.drafts import Draft

ONLY = "compare-only"


def differences(drafts: "Sequence[Draft]") -> None:
    """A row a field, a column a composition; what is alike in all is shown on request."""
    rows = side_by_side(drafts)
    differing = [row for row in rows if row.differs]
    st.subheader(f"{len(differing)} of {len(rows)} fields differ" if len(drafts) > 1 else "Fields", anchor=False)
    only = st.toggle("Only what differs", value=True, key=ONLY, disabled=len(drafts) == 1)
    shown = differing if only and len(drafts) > 1 else rows
    if not shown:
        st.caption("Nothing differs.")
        return
    st.dataframe(
        [
            {"field": row.field, **{f"Recipe {place}": value for place, value in enumerate(row.values, start=1)}}
            for row in shown
        ],
        hide_index=True,
    )
