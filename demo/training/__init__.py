"""Trains what the shapes world ships: `python -m demo.training autoencoder|judge|unet|pack --work FOLDER`."""
