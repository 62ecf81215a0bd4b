"""One pass of a U-Net in the settings' precision, from fp32 latents to fp32 outputs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distill_jobs.bases.conditioning import Condition
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.devices import device_of
from distill_jobs.training.precision import DTYPES, autocast


class Forward:
    """Calls a `prepared` U-Net; what goes in and comes out is fp32 on the caller's device."""

    def __init__(self, network: nn.Module, settings: ComputeSettings) -> None:
        self.network, self.settings = network, settings
        self.device, self.dtype = device_of(settings), DTYPES[settings.dtype]
        self.eager = self._call = _callable(network)
        if settings.compile != "off":
            self._call = torch.compile(self.eager, backend=settings.compile, dynamic=False)

    def __call__(
        self,
        z: Tensor,
        timesteps: Tensor,
        condition: Condition,
        weights: Mapping[str, Tensor] | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """The output (B, C, H, W) at z (B, C, H, W) and timesteps (B,), with `weights` in place of the network's.

        `guidance` (B, E) is the embedded w of a U-Net that is told it.
        """
        placed, told = z.to(self.device, self.dtype), self._told(condition)
        if guidance is not None:
            told["timestep_cond"] = guidance.to(self.device, self.dtype)
        if self.settings.channels_last:
            placed = placed.contiguous(memory_format=torch.channels_last)
        given = (placed, timesteps.to(self.device))
        with autocast(self.settings):
            if weights is None:
                output: Tensor = self._call(*given, **told)
            else:
                output = functional_call(self.network, dict(weights), given, told)[0]
        return output.to(z.device, z.dtype)

    def uncompiled(self) -> "Forward":
        """The same without compilation."""
        return Forward(self.network, self.settings.model_copy(update={"compile": "off"}))

    def _told(self, condition: Condition) -> dict[str, Any]:
        told = condition.arguments()
        told["encoder_hidden_states"] = told["encoder_hidden_states"].to(self.device, self.dtype)
        if added := told.get("added_cond_kwargs"):
            pooled, time_ids = added["text_embeds"].to(self.device, self.dtype), added["time_ids"].to(self.device)
            told["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids}
        return {**told, "return_dict": False}


def _callable(network: nn.Module) -> Any:
    def call(z: Tensor, timesteps: Tensor, **told: Any) -> Tensor:
        output: Tensor = network(z, timesteps, **told)[0]
        return output

    return call
