"""Random numbers that follow from a seed and a module's name alone, in whatever order modules are worked on."""

import hashlib

import torch


def generator_for(seed: int, module: str) -> torch.Generator:
    """A CPU generator for one module: the same for the same seed and name, whatever was drawn before or elsewhere.

    Modules can then be worked on in any order and by any number of threads.
    """
    digest = hashlib.sha256(f"{seed}\n{module}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
