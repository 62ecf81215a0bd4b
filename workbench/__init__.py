"""The use cases that join the rooms below: what Python, the command line and the pages all call.

Nothing is imported before it is used, so that listing the catalog loads no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "Axis": "grids.axes",
    "Baked": "sums.baking",
    "CheckReport": "sums.checking",
    "Composition": "sums.composing",
    "Converted": "sums.converting",
    "Exported": "giving.exporting",
    "ImportReport": "intake.report",
    "Outcome": "outcomes",
    "Preview": "painting.previewing",
    "Pushed": "giving.pushing",
    "SyncReport": "giving.syncing",
    "WorkbenchError": "errors",
    "bake": "sums.baking",
    "check": "sums.checking",
    "compose": "sums.composing",
    "convert": "sums.converting",
    "export": "giving.exporting",
    "identify_file": "intake.importing",
    "import_file": "intake.importing",
    "import_folder": "intake.library",
    "import_hub": "intake.hub",
    "import_invokeai": "intake.invokeai",
    "import_url": "intake.weblink",
    "look_up": "intake.hash_lookups",
    "lookups_of": "intake.hash_lookups",
    "open_registry": "opening",
    "outcome_of": "outcomes",
    "paint_cells": "grids.painting",
    "plan_grid": "grids.planning",
    "preview": "painting.previewing",
    "push": "giving.pushing",
    "recall": "painting.recalling",
    "repaint": "painting.recalling",
    "resolve": "recipes.references",
    "resolve_recipe": "recipes.resolving",
    "run_worker": "jobs.workers",
    "submit_distillation": "jobs.queueing",
    "submit_grid": "grids.jobs",
    "submit_training": "jobs.queueing",
    "sync": "giving.syncing",
    "take_in": "intake.sources",
    "unbake": "sums.baking",
    "unlink": "intake.hash_lookups",
    "verify": "sums.verifying",
    "wait": "jobs.queueing",
    "write_grid": "grids.files",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(f"workbench.{_MODULES[name]}"), name)
