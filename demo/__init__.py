"""The shapes world: a renderer, captions and the trainer of the small diffusion base that ships with Tauworks.

The world is deliberately tiny (64 x 64 pictures of one shape) and deliberately real: its base is a Stable-Diffusion
pipeline made of the ordinary diffusers and transformers classes, so that everything the product does to SD-V1.5 it can
do, and be tested doing, here. Nothing in this package imports the rest of the product.
"""

from demo.captions import ATTRIBUTES, Attributes, all_attributes, caption, parse_caption
from demo.dataset import write_dataset
from demo.renderer import STYLES, Scene, render, sample_scenes
from demo.shipped import BASE_FOLDER, STYLE_FILES, base_folder, style_files, tuning, write_velocity_base

__all__ = [
    "ATTRIBUTES",
    "BASE_FOLDER",
    "STYLES",
    "STYLE_FILES",
    "Attributes",
    "Scene",
    "all_attributes",
    "base_folder",
    "caption",
    "parse_caption",
    "render",
    "sample_scenes",
    "style_files",
    "tuning",
    "write_dataset",
    "write_velocity_base",
]
