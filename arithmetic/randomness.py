"""Random numbers that are the same in whatever order, and from whatever thread, modules are worked on."""

import hashlib

import torch


def generator_of(seed: int, name: str) -> torch.Generator:
    """A generator whose numbers follow from the seed and a name, a module's say, alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
