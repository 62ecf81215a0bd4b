"""What people write without a workbench, in a process of its own: a plain diffusers pipeline and its LoRA methods.

Each cell is a pair of strengths. With --fresh every cell loads the pipeline and both files anew, as a script that is
started again does; without it, one pipeline stays and `set_adapters` changes the strengths. The last line printed is
JSON: seconds of the whole, of each cell, and the pictures' mean grey, by which one sees that they were painted.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline
from diffusers.utils import logging

from benchmarks.subprocesses import own_memory_mib


def main() -> None:
    """Paint every cell and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, nargs="+", required=True)
    parser.add_argument("--cells", type=json.loads, required=True, help="[[strength, strength], ...]")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    logging.disable_progress_bar()
    before, began = own_memory_mib(), time.perf_counter()
    pipe: Any = None
    seconds, grey = [], []
    for cell in options.cells:
        start = time.perf_counter()
        if pipe is None or options.fresh:
            pipe = _loaded(options.base, options.vectors)
        grey.append(float(np.mean(_painted(pipe, cell, options))))
        seconds.append(time.perf_counter() - start)
    whole = time.perf_counter() - began
    print(json.dumps({"seconds": whole, "before_mib": before, "cell_s": seconds, "grey": grey}))


def _loaded(base: Path, vectors: list[Path]) -> Any:
    pipe = StableDiffusionPipeline.from_pretrained(
        str(base), dtype=torch.float32, safety_checker=None, requires_safety_checker=False, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    for path in vectors:
        pipe.load_lora_weights(str(path), adapter_name=path.stem)
    return pipe


def _painted(pipe: Any, cell: list[float], options: argparse.Namespace) -> Any:
    pipe.set_adapters([path.stem for path in options.vectors], cell)
    return pipe(
        options.prompt,
        num_inference_steps=options.steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
    ).images[0]


if __name__ == "__main__":
    main()
