"""What a model predicts, the noise or the velocity, where a file tells."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from formats.declarations import PREDICTIONS, declared
from formats.findings import Finding, nothing
from formats.header import Header, read_numbers

EPSILON, VELOCITY = "epsilon", "v_prediction"
PREDICTIONS_OF_SCHEDULERS = (EPSILON, VELOCITY, "sample")

IN_CONFIGURATION = 1.0
IN_METADATA = 0.9
BY_MARKED_KEY = 0.95
BY_NORM_BIAS = 0.8

OF_FAMILY: Mapping[str, float] = {"sd15": 0.8, "ssd1b": 0.8, "vega": 0.8, "sdxl-refiner": 0.8, "sdxl": 0.6}
"""How sure it is that a model of the family predicts noise when nothing says so: SDXL has velocity fine-tunes."""

MARKED_KEYS = ("v_pred", "ztsnr")
"""Keys that trainers put in a checkpoint to say that it predicts the velocity."""

LAST_NORM_BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
VELOCITY_ABOVE = 0.09
"""ComfyUI's test of an SD-2 checkpoint: a larger standard deviation of that bias means velocity."""


def prediction_of_adapter(family: str, metadata: Mapping[str, str]) -> Finding:
    """By the metadata, else by the family: an adapter's keys do not tell."""
    found = declared(metadata, PREDICTIONS)
    words = tuple(f"{key} is {metadata[key]!r}" for key in found)
    if len(set(found.values())) == 1:
        return Finding(next(iter(found.values())), IN_METADATA, words)
    if found:
        return nothing(f"the metadata contradict one another: {', '.join(words)}")
    return _of_family(family)


def prediction_of_folder(family: str, folder: Path) -> Finding:
    """By scheduler/scheduler_config.json, whose default is epsilon; else by the family."""
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        said = json.loads(path.read_text("utf-8")).get("prediction_type", EPSILON)
    except (OSError, ValueError, AttributeError, RecursionError):
        return _of_family(family)
    sentence = f"scheduler_config.json: prediction_type is {said!r:.80}"
    if said not in PREDICTIONS_OF_SCHEDULERS:
        return nothing(f"{sentence}, expected one of {', '.join(PREDICTIONS_OF_SCHEDULERS)}")
    return Finding(said, IN_CONFIGURATION, (sentence,))


def prediction_of_checkpoint(family: str, header: Header) -> Finding:
    """By a marked key, the metadata, or the spread of one bias of an SD-2 checkpoint; else by the family."""
    marked = [key for key in MARKED_KEYS if key in header.tensors]
    if marked:
        return Finding(VELOCITY, BY_MARKED_KEY, (f"the checkpoint holds the key {marked[0]!r}",))
    said = prediction_of_adapter(family, header.metadata)
    if family != "sd21" or said.confidence or LAST_NORM_BIAS not in header.tensors:
        return said
    bias = read_numbers(header, LAST_NORM_BIAS)
    mean = math.fsum(bias) / max(len(bias), 1)
    spread = math.sqrt(math.fsum((number - mean) ** 2 for number in bias) / max(len(bias) - 1, 1))
    if not math.isfinite(spread):
        return nothing(f"{LAST_NORM_BIAS} holds numbers that are not finite")
    sentence = f"the bias of output block 11 spreads by {spread:.3f}, and above {VELOCITY_ABOVE} means velocity"
    return Finding(VELOCITY if spread > VELOCITY_ABOVE else EPSILON, BY_NORM_BIAS, (sentence,))


def _of_family(family: str) -> Finding:
    if family in OF_FAMILY:
        return Finding(EPSILON, OF_FAMILY[family], (f"nothing says otherwise, and {family} itself predicts noise",))
    return nothing("nothing in the file tells")
