"""`python -m demo.training STAGE --work FOLDER`: autoencoder, unet, judge, pack; velocity, pack-velocity.

In that order; each stage reads what the one before it wrote.
"""

import argparse
from pathlib import Path

from demo.shipped import VELOCITY_FOLDER, base_folder
from demo.training.autoencoder import train_autoencoder
from demo.training.judge import train_judge
from demo.training.packing import pack, pack_velocity
from demo.training.unet import train_unet, train_velocity

STAGES = {
    "autoencoder": (train_autoencoder, 3200),
    "unet": (train_unet, 6000),
    "judge": (train_judge, 2000),
    "velocity": (train_velocity, 4000),
}


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description="Train what the shapes world ships.")
    parser.add_argument("stage", choices=[*STAGES, "pack", "pack-velocity"])
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and results; reused to resume")
    parser.add_argument("--steps", type=int, help="default: what the shipped files were trained with")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.stage == "pack":
        pack(options.work, base_folder())
        return
    if options.stage == "pack-velocity":
        pack_velocity(options.work, VELOCITY_FOLDER)
        return
    train, default_steps = STAGES[options.stage]
    train(options.work, steps=options.steps or default_steps, seed=options.seed)


main()
