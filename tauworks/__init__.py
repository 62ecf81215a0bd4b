"""The front door: `from tauworks import Registry, compose, preview`. Nothing is imported before it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Registry
    from workbench.grids.axes import Axis
    from workbench.grids.files import write_grid
    from workbench.grids.painting import paint_cells
    from workbench.grids.planning import plan_grid
    from workbench.intake.importing import identify_file, import_file
    from workbench.jobs.queueing import submit_distillation, submit_training, wait
    from workbench.jobs.workers import run_worker
    from workbench.painting.previewing import preview
    from workbench.painting.recalling import recall, repaint
    from workbench.sums.baking import bake, unbake
    from workbench.sums.checking import check
    from workbench.sums.composing import compose
    from workbench.sums.converting import convert
    from workbench.sums.interfering import interfere
    from workbench.sums.verifying import verify

_MODULES = {
    "Axis": "workbench.grids.axes",
    "Registry": "registry",
    "bake": "workbench.sums.baking",
    "check": "workbench.sums.checking",
    "compose": "workbench.sums.composing",
    "convert": "workbench.sums.converting",
    "identify_file": "workbench.intake.importing",
    "import_file": "workbench.intake.importing",
    "interfere": "workbench.sums.interfering",
    "paint_cells": "workbench.grids.painting",
    "plan_grid": "workbench.grids.planning",
    "preview": "workbench.painting.previewing",
    "recall": "workbench.painting.recalling",
    "repaint": "workbench.painting.recalling",
    "run_worker": "workbench.jobs.workers",
    "submit_distillation": "workbench.jobs.queueing",
    "submit_training": "workbench.jobs.queueing",
    "unbake": "workbench.sums.baking",
    "verify": "workbench.sums.verifying",
    "wait": "workbench.jobs.queueing",
    "write_grid": "workbench.grids.files",
}

__all__ = [
    "Axis",
    "Registry",
    "bake",
    "check",
    "compose",
    "convert",
    "identify_file",
    "import_file",
    "interfere",
    "paint_cells",
    "plan_grid",
    "preview",
    "recall",
    "repaint",
    "run_worker",
    "submit_distillation",
    "submit_training",
    "unbake",
    "verify",
    "wait",
    "write_grid",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tauworks' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
