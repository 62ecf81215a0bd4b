"""A base's own weights: where each module's tensor lies in its files, read one at a time and never kept."""

from arithmetic.weights.places import Part, Place
from arithmetic.weights.weights import WeightFile, Weights, open_weights

__all__ = ["Part", "Place", "WeightFile", "Weights", "file_sha256", "open_weights"]
