"""What a model paints: pipelines, solvers, pictures with their provenance, and how good the pictures are.

Nothing is imported before it is used, so that reading a picture's record loads no torch. Log lines that are known to
be harmless are kept out from the start, because the first of them comes while diffusers is imported.
"""

from importlib import import_module
from typing import Any

from sampling.warnings import silence_known_messages

_MODULES = {
    "KNOWN_WARNINGS": "warnings",
    "SOLVERS": "solvers",
    "Appearance": "sheet",
    "Cancelled": "errors",
    "Checkpoint": "single_file",
    "Configuration": "shipped",
    "Interval": "metrics",
    "Judge": "judge",
    "Painting": "painting",
    "Placement": "placement",
    "SamplingError": "errors",
    "Settings": "settings",
    "Solver": "solvers",
    "accuracy": "metrics",
    "agreement": "metrics",
    "attach": "vectors",
    "attached": "vectors",
    "clip_scores": "clip_score",
    "configuration_of": "shipped",
    "contact_sheet": "sheet",
    "decode": "painting",
    "denoise": "painting",
    "detach": "vectors",
    "embeds_guidance": "guidance",
    "endpoint_error": "metrics",
    "find_judge": "judge",
    "find_solver": "solvers",
    "guidance_embedding": "guidance",
    "heads_right": "metrics",
    "hold": "vectors",
    "joint_right": "metrics",
    "known_warnings_silenced": "warnings",
    "load_judge": "judge",
    "load_pipeline": "base",
    "make_scheduler": "solvers",
    "noise_for": "beginnings",
    "paint": "painting",
    "paired_bootstrap": "metrics",
    "predict": "painting",
    "read_png": "pictures",
    "read_record": "pictures",
    "save_png": "pictures",
    "save_sheet": "pictures",
    "set_strengths": "vectors",
    "sharpness": "metrics",
    "shipped_configuration": "shipped",
    "strengths": "vectors",
}

__all__ = [*_MODULES]

silence_known_messages()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'sampling' has no attribute {name!r}")
    return getattr(import_module(f"sampling.{_MODULES[name]}"), name)
