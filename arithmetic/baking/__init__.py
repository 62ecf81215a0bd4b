"""Writing a base with a sum in it, proved, and taking the sum out again, bit for bit."""

from arithmetic.baking.bakes import bake
from arithmetic.baking.proof import BakeCertificate
from arithmetic.baking.restoration import unbake
from arithmetic.baking.verification import verify_bake

__all__ = ["BakeCertificate", "bake", "unbake", "verify_bake"]
