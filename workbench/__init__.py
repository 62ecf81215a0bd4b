"""The use cases that join the rooms below: what Python, the command line and the pages all call.

Nothing is imported before it is used, so that listing the catalog loads no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "Baked": "baking",
    "CheckReport": "checking",
    "Composition": "composing",
    "Converted": "converting",
    "Exported": "exporting",
    "ImportReport": "import_report",
    "Outcome": "outcomes",
    "Preview": "previewing",
    "Pushed": "pushing",
    "SyncReport": "syncing",
    "WorkbenchError": "errors",
    "bake": "baking",
    "check": "checking",
    "compose": "composing",
    "convert": "converting",
    "export": "exporting",
    "identify_file": "importing",
    "import_file": "importing",
    "import_folder": "library",
    "import_hub": "hub",
    "import_invokeai": "invokeai",
    "import_url": "weblink",
    "look_up": "hash_lookups",
    "lookups_of": "hash_lookups",
    "open_registry": "opening",
    "outcome_of": "outcomes",
    "preview": "previewing",
    "push": "pushing",
    "recall": "recalling",
    "resolve": "references",
    "resolve_recipe": "recipes",
    "run_worker": "workers",
    "submit_distillation": "jobs",
    "submit_training": "jobs",
    "sync": "syncing",
    "take_in": "import_sources",
    "unbake": "baking",
    "unlink": "hash_lookups",
    "verify": "verifying",
    "wait": "jobs",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(f"workbench.{_MODULES[name]}"), name)
