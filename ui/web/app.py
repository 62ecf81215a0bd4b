"""The script that `streamlit run` executes for each visitor and each change: settings of the page, then the page."""

import streamlit as st

from ui.web.navigation import run

st.set_page_config(page_title="Tauworks", page_icon=":material/tonality:", layout="wide")
run()
