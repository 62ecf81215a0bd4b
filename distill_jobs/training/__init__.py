"""The optimisation that all kinds share: steps, optimiser, checkpoints, resumption."""
