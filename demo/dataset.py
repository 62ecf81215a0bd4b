"""Writes a folder of captioned pictures: what a team would hand to a training job."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from demo.captions import caption
from demo.renderer import render, sample_attributes, sample_scenes


def write_dataset(folder: Path, style: str, *, count: int, seed: int) -> Path:
    """`count` PNG pictures in `style` and metadata.jsonl ({"file_name", "text"} a line); returns `folder`.

    The same arguments write the same bytes. metadata.jsonl comes last, so a folder that has it is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, count])
    attributes = sample_attributes(rng, count)
    rows = []
    for i, scene in enumerate(sample_scenes(rng, attributes, style)):
        name = f"{i:05d}.png"
        Image.fromarray(np.round(render(scene) * 255).astype(np.uint8)).save(folder / name)
        rows.append(json.dumps({"file_name": name, "text": caption(scene.attributes)}))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder
