"""A composed file in a plain diffusers pipeline paints what `set_adapters` paints, and what fused weights paint."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from diffusers import StableDiffusionPipeline
from peft import PeftModel

from arithmetic import Combination, Vector, check, compose, convert, diffusers_state_dict, open_vector
from demo.training import networks
from formats import Architecture, Layout, architecture_of_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:Already found a `peft_config` attribute:UserWarning",
    "ignore:.*is_gradient_checkpointing.*",
)

WEIGHTS = (0.7, -0.4)
PROMPT = "a large red circle on a white background"
CLOSE = 1e-4
TEXTS = {"recipe": "0.7*style - 0.4*lcm", "locked": "0.7*sha256:00 - 0.4*sha256:11"}


@dataclass(frozen=True)
class Shapes:
    """The shapes world's classes with random weights, as a folder, and its module table."""

    folder: Path
    architecture: Architecture

    def pipeline(self) -> StableDiffusionPipeline:
        """A fresh copy, all float32."""
        pipe = StableDiffusionPipeline.from_pretrained(self.folder, safety_checker=None, dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def modules(self, component: str) -> list[str]:
        """What adapters reach in one component."""
        table = self.architecture.modules
        return [name for name in table if name.startswith(f"{component}.") and "embeddings" not in name]


def latents(pipe: StableDiffusionPipeline) -> torch.Tensor:
    """Three guided DDIM steps from one noise."""
    return pipe(
        PROMPT,
        num_inference_steps=3,
        guidance_scale=3.0,
        width=64,
        height=64,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    folder = tmp_path_factory.mktemp("shapes")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = networks.write_tokenizer(folder / "tokenizer")
        StableDiffusionPipeline(
            vae=networks.autoencoder(),
            text_encoder=networks.text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=networks.unet(),
            scheduler=networks.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return Shapes(folder, architecture_of_folder(folder, "shapes"))


@pytest.fixture(scope="module")
def drafts(shapes: Shapes, draft: Callable) -> tuple:
    """A style on U-Net and text encoder (out_proj included) and an acceleration on the U-Net; ranks and alphas vary."""
    unet, text = shapes.modules("unet"), shapes.modules("text_encoder")
    table = shapes.architecture
    style = draft(0, unet[::2] + text, ranks=(4, 6, 8), alphas=(2.0, 8.0), architecture=table)
    return style, draft(1, unet[::3] + unet[1::2], ranks=(5, 3), alphas=(16.0, 5.0, 1.0), architecture=table)


@pytest.fixture(scope="module")
def vectors(
    shapes: Shapes, drafts: tuple, save: Callable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Vector, ...]:
    """The drafts as kohya files."""
    folder = tmp_path_factory.mktemp("vectors")
    return tuple(
        open_vector(save(drawn, folder / f"{name}.safetensors"), shapes.architecture)
        for name, drawn in zip(("style", "lcm"), drafts, strict=True)
    )


@pytest.fixture(scope="module")
def wanted(shapes: Shapes, drafts: tuple) -> torch.Tensor:
    """What `set_adapters` paints with the two drafts, loaded without this package: alpha = rank, nothing to misread."""
    pipe = shapes.pipeline()
    for name, drawn in zip(("style", "lcm"), drafts, strict=True):
        state = {}
        for module, (up, down, alpha) in drawn.factors.items():
            state[f"{module}.lora_A.weight"] = down.clone()
            state[f"{module}.lora_B.weight"] = (up.double() * (alpha / down.shape[0])).float()
        pipe.load_lora_weights(state, adapter_name=name)
    pipe.set_adapters(["style", "lcm"], list(WEIGHTS))
    return latents(pipe)


def test_the_vectors_matter(shapes: Shapes, wanted: torch.Tensor) -> None:
    assert (latents(shapes.pipeline()) - wanted).abs().max() > 0.1


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT])
def test_the_composed_file_paints_what_set_adapters_paints(
    layout: Layout, shapes: Shapes, vectors: tuple[Vector, ...], wanted: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / ("folder" if layout is Layout.PEFT else "file.safetensors")
    proof = compose(Combination(tuple(zip(WEIGHTS, vectors, strict=True))), path, layout=layout, **TEXTS)
    pipe = shapes.pipeline()
    pipe.load_lora_weights(str(path))
    assert (latents(pipe) - wanted).abs().max() < CLOSE
    assert proof.worst_relative_error < 1e-6


def test_weights_fused_by_a_dense_float64_sum_paint_the_same(
    shapes: Shapes, drafts: tuple, wanted: torch.Tensor
) -> None:
    pipe = shapes.pipeline()
    for weight, drawn in zip(WEIGHTS, drafts, strict=True):
        for module, delta in drawn.deltas().items():
            component, _, name = module.partition(".")
            network = getattr(pipe, component)
            layer = network.get_submodule(name if component == "unet" else name.removeprefix("text_model."))
            added = weight * torch.from_numpy(delta).reshape(layer.weight.shape)
            layer.weight.data.copy_((layer.weight.data.double() + added).float())
    assert (latents(pipe) - wanted).abs().max() < CLOSE


def test_the_runtime_tensors_paint_the_same(shapes: Shapes, vectors: tuple[Vector, ...], wanted: torch.Tensor) -> None:
    pipe = shapes.pipeline()
    for name, vector in zip(("style", "lcm"), vectors, strict=True):
        pipe.load_lora_weights(diffusers_state_dict(vector), adapter_name=name)
    pipe.set_adapters(["style", "lcm"], list(WEIGHTS))
    assert (latents(pipe) - wanted).abs().max() < CLOSE


def test_peft_itself_reads_a_folder_of_the_unet(shapes: Shapes, vectors: tuple[Vector, ...], tmp_path: Path) -> None:
    """Mixed ranks, one alpha; the same vector through diffusers' own loader is the reference."""
    compose(Combination(((0.9, vectors[1]),)), tmp_path / "folder", layout=Layout.PEFT, **TEXTS)
    through_peft, through_diffusers = shapes.pipeline(), shapes.pipeline()
    through_peft.unet = PeftModel.from_pretrained(through_peft.unet, str(tmp_path / "folder")).base_model.model
    through_diffusers.load_lora_weights(diffusers_state_dict(vectors[1]), adapter_name="lcm")
    through_diffusers.set_adapters(["lcm"], [0.9])
    assert (latents(through_peft) - latents(through_diffusers)).abs().max() < CLOSE


def test_a_respelled_file_of_mixed_ranks_and_alphas_is_read_by_diffusers_as_it_is_meant(
    shapes: Shapes, vectors: tuple[Vector, ...], wanted: torch.Tensor, tmp_path: Path
) -> None:
    pipe = shapes.pipeline()
    for name, vector in zip(("style", "lcm"), vectors, strict=True):
        pipe.load_lora_weights(
            str(convert(vector, tmp_path / f"{name}.safetensors", Layout.DIFFUSERS, {})), adapter_name=name
        )
    pipe.set_adapters(["style", "lcm"], list(WEIGHTS))
    assert (latents(pipe) - wanted).abs().max() < CLOSE


def test_a_respelled_folder_of_mixed_ranks_and_alphas_is_read_by_peft_as_it_is_meant(
    shapes: Shapes, vectors: tuple[Vector, ...], tmp_path: Path
) -> None:
    convert(vectors[1], tmp_path / "folder", Layout.PEFT, {})
    through_peft, through_diffusers = shapes.pipeline(), shapes.pipeline()
    through_peft.unet = PeftModel.from_pretrained(through_peft.unet, str(tmp_path / "folder")).base_model.model
    through_diffusers.load_lora_weights(diffusers_state_dict(vectors[1]))
    assert (latents(through_peft) - latents(through_diffusers)).abs().max() < CLOSE


@pytest.mark.parametrize(
    ("layout", "endings", "code"),
    [
        (Layout.KOHYA, ("q_proj", "k_proj"), "kohya-text-encoder-without-out-proj"),
        (Layout.DIFFUSERS, ("fc1", "fc2"), "diffusers-text-encoder-without-attention"),
    ],
)
def test_what_the_verdict_says_diffusers_cannot_load_it_does_not_load(
    layout: Layout,
    endings: tuple[str, ...],
    code: str,
    shapes: Shapes,
    draft: Callable,
    save: Callable,
    tmp_path: Path,
) -> None:
    modules = [name for name in shapes.modules("text_encoder") if name.endswith(endings)]
    drawn = draft(2, modules, architecture=shapes.architecture)
    combination = Combination(((1.0, open_vector(save(drawn, tmp_path / "input"), shapes.architecture)),))
    compose(combination, tmp_path / "out.safetensors", layout=layout, **TEXTS)
    assert code in [finding.code for finding in check(combination, layout=layout).findings]
    with pytest.raises(ValueError, match="Could not automatically infer state dict type"):
        shapes.pipeline().load_lora_weights(str(tmp_path / "out.safetensors"))
