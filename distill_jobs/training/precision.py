"""A network in the precision, memory format and kernels that the settings name, and back again.

The frozen weights are converted; trained parameters stay fp32. Latents and all of `distill_jobs.consistency` stay fp32
on the CPU: of a step only the network's own passes leave it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.devices import device_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def prepared(network: nn.Module, settings: ComputeSettings) -> Iterator[None]:
    """Inside, `network` computes as the settings say; afterwards its frozen weights are the very same as before."""
    device, dtype = device_of(settings), DTYPES[settings.dtype]
    with ExitStack() as stack:
        stack.enter_context(_placed(network, device, dtype))
        if settings.channels_last:
            stack.enter_context(_channels_last(network))
        if settings.attention == "math" and hasattr(network, "set_attn_processor"):
            stack.enter_context(_written_out_attention(network))
        if settings.gradient_checkpointing and hasattr(network, "enable_gradient_checkpointing"):
            network.enable_gradient_checkpointing()
            stack.callback(network.disable_gradient_checkpointing)
        yield


def autocast(settings: ComputeSettings) -> AbstractContextManager[None]:
    """Inside, fp32 factors and half-precision weights compute together in the settings' dtype; nothing for fp32."""
    if settings.dtype == "fp32":
        return nullcontext()
    return torch.autocast(device_of(settings).type, DTYPES[settings.dtype])


@contextmanager
def beside_it(pipe: Any, settings: ComputeSettings) -> Iterator[None]:
    """Inside, the VAE and the text encoders lie on the settings' device, in their own dtype."""
    beside = [pipe.components.get(name) for name in ("vae", "text_encoder", "text_encoder_2")]
    with ExitStack() as stack:
        for network in beside:
            if isinstance(network, nn.Module):
                stack.enter_context(_placed(network, device_of(settings), None))
        yield


@contextmanager
def showing(pipe: Any, settings: ComputeSettings) -> Iterator[None]:
    """Inside, a pipeline whose U-Net is `prepared` can paint; the VAE, which may overflow, decodes in its own dtype."""
    with beside_it(pipe, settings):
        if settings.dtype == "fp32":
            yield
            return
        pipe.unet.forward = torch.autocast(device_of(settings).type, DTYPES[settings.dtype])(pipe.unet.forward)
        try:
            yield
        finally:
            del pipe.unet.forward


@contextmanager
def _placed(network: nn.Module, device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Frozen parameters in `dtype` (None: as they are), everything on `device`; the originals are put back."""
    before: list[tuple[Tensor, Tensor]] = []
    for value in (*network.parameters(), *network.buffers()):
        wanted = value.dtype if dtype is None or value.requires_grad or not value.is_floating_point() else dtype
        if (value.device.type, value.dtype) == (device.type, wanted) and device.index in (None, value.device.index):
            continue
        if not value.requires_grad:
            before.append((value, value.data))
        value.data = value.data.to(device, wanted)
    try:
        yield
    finally:
        for value, original in before:
            value.data = original


@contextmanager
def _channels_last(network: nn.Module) -> Iterator[None]:
    convolved = [value for value in network.parameters() if value.ndim == 4]
    for value in convolved:
        value.data = value.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for value in convolved:
            value.data = value.data.contiguous()


@contextmanager
def _written_out_attention(network: Any) -> Iterator[None]:
    before = dict(network.attn_processors)
    network.set_attn_processor(AttnProcessor())
    try:
        yield
    finally:
        network.set_attn_processor(before)
