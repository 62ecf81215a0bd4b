"""Whether a compiled network computes what the eager one does, asked before a training relies on it.

A compiled graph has been seen to ignore that an adapter was switched off (torchtune 721), which would make the teacher
a copy of the student; so every role is compared, with factors that are not zero.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from distill_jobs.errors import CompileMismatch

TOLERANCES = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
"""Of |compiled - eager| / |eager|: kernels in another order round otherwise, a wrong graph is off by far more."""
SPREAD = 0.05

Pass = Callable[[], Tensor]


def require_parity(
    eager: Pass,
    compiled: Pass,
    roles: Mapping[str, Callable[[], AbstractContextManager[object]]],
    parameters: Mapping[str, nn.Parameter],
    *,
    tolerance: float,
) -> None:
    """Compare two passes of one network on one batch in each role, and the gradients where a role has them.

    `parameters` hold noise for the comparison and are put back. Raises CompileMismatch when a relative difference is
    above `tolerance`.
    """
    with _spread(parameters):
        for role, entered in roles.items():
            with entered():
                expected, got = _outcomes(eager, parameters), _outcomes(compiled, parameters)
            for what, reference in expected.items():
                _compare(role, what, got[what], reference, tolerance)


def _outcomes(network: Pass, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    output = network()
    if not output.requires_grad:
        return {"output": output}
    gradients = torch.autograd.grad(output.square().mean(), list(parameters.values()), allow_unused=True)
    flat = [gradient.flatten() for gradient in gradients if gradient is not None]
    return {"output": output.detach(), "gradient": torch.cat(flat)}


def _compare(role: str, what: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
    difference = ((got - expected).norm() / expected.norm()).item()
    if not difference <= tolerance:
        raise CompileMismatch(
            f"{role}: the {what} of the compiled network is {difference:.2g} away from the eager one's, relatively, "
            f"more than {tolerance:g}; set compile to off"
        )


@contextmanager
def _spread(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Inside, the parameters hold seeded noise: fresh factors are zero, and would make all roles the same."""
    before = {name: value.detach().clone() for name, value in parameters.items()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in parameters.values():
            value.copy_(SPREAD * torch.randn(value.shape, generator=generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(before[name])
