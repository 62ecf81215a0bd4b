"""The workbench's pages in Streamlit. `command` is the process that serves them; no page runs a model."""

from ui.web.launch import command

__all__ = ["command"]
