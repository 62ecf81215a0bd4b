"""The front door: `from tauworks import Registry, compose, preview`. Nothing is imported before it is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Registry
    from workbench.baking import bake, unbake
    from workbench.checking import check
    from workbench.composing import compose
    from workbench.converting import convert
    from workbench.importing import identify_file, import_file
    from workbench.interfering import interfere
    from workbench.jobs import submit_distillation, submit_training, wait
    from workbench.previewing import preview
    from workbench.recalling import recall
    from workbench.verifying import verify
    from workbench.workers import run_worker

_MODULES = {
    "Registry": "registry",
    "bake": "workbench.baking",
    "check": "workbench.checking",
    "compose": "workbench.composing",
    "convert": "workbench.converting",
    "identify_file": "workbench.importing",
    "import_file": "workbench.importing",
    "interfere": "workbench.interfering",
    "preview": "workbench.previewing",
    "recall": "workbench.recalling",
    "run_worker": "workbench.workers",
    "submit_distillation": "workbench.jobs",
    "submit_training": "workbench.jobs",
    "unbake": "workbench.baking",
    "verify": "workbench.verifying",
    "wait": "workbench.jobs",
}

__all__ = [
    "Registry",
    "bake",
    "check",
    "compose",
    "convert",
    "identify_file",
    "import_file",
    "interfere",
    "preview",
    "recall",
    "run_worker",
    "submit_distillation",
    "submit_training",
    "unbake",
    "verify",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tauworks' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
