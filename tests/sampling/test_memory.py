"""What a painting takes, beside what is really alive while it runs: the networks traced on a device without memory."""

import weakref

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from demo.training import networks
from sampling import shipped_configuration
from sampling.memory import unet_elements, vae_elements


class InBlocks(TorchFunctionMode):
    """Attention whose matrix is never there as a whole."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return function(*args, **(kwargs or {}))


class Alive(TorchDispatchMode):
    """Counts the elements of the storages that are alive at once, those of `network` left out."""

    def __init__(self, network):
        super().__init__()
        self.now = self.most = 0
        self.known = weakref.WeakSet(tensor.untyped_storage() for tensor in network.state_dict().values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self.note, made)
        return made

    def note(self, tensor):
        storage = tensor.untyped_storage()
        if storage not in self.known:
            self.known.add(storage)
            size = storage.nbytes() // tensor.element_size()
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.drop, size)
        return tensor

    def drop(self, size):
        self.now -= size


def empty(kind, document):
    with init_empty_weights(include_buffers=True):
        return kind(**document)


def unet_alive(unet, rows, height, width):
    told = {"text_embeds": torch.empty(rows, 1280, device="meta"), "time_ids": torch.empty(rows, 6, device="meta")}
    z, text = (rows, 4, height, width), (rows, 77, unet.config.cross_attention_dim)
    with torch.no_grad(), InBlocks(), Alive(unet) as alive:
        unet(
            torch.empty(z, device="meta"),
            torch.tensor(1, device="meta"),
            encoder_hidden_states=torch.empty(text, device="meta"),
            added_cond_kwargs=told if unet.config.addition_embed_type else None,
        )
    return alive.most


@pytest.mark.parametrize("family", ["sd15", "vega"])
def test_a_unets_bound_holds_and_is_tight(family):
    document = shipped_configuration(family).documents["unet"]
    found = unet_alive(empty(UNet2DConditionModel, document), 1, 64, 96)
    assert found <= unet_elements(document) * 64 * 96 <= 1.15 * found


def test_rows_and_pixels_multiply_it():
    document = shipped_configuration("sd15").documents["unet"]
    unet = empty(UNet2DConditionModel, document)
    assert unet_alive(unet, 2, 32, 32) <= unet_elements(document) * 2 * 32 * 32 <= 1.15 * unet_alive(unet, 1, 64, 32)


@pytest.mark.parametrize(
    "document", [shipped_configuration("sdxl").documents["vae"], dict(networks.autoencoder().config)]
)
def test_a_decoders_bound_holds_and_is_tight(document):
    kept = {key: value for key, value in document.items() if not key.startswith("_")}
    vae = empty(AutoencoderKL, kept)
    with torch.no_grad(), InBlocks(), Alive(vae) as alive:
        vae.decode(torch.empty(1, 4, 16, 24, device="meta"))
    assert alive.most <= vae_elements(kept) * 128 * 192 <= 1.15 * alive.most
