"""The dtypes of a file's tensors, as people call them."""

from collections.abc import Mapping

DTYPE_NAMES: Mapping[str, str] = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}


def dtype_name(elements: Mapping[str, int]) -> str | None:
    """The name of the dtype with the most elements; None without any."""
    if not elements:
        return None
    dtype = max(elements, key=lambda one: elements[one])
    return DTYPE_NAMES.get(dtype, dtype.lower())
