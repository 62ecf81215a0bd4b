"""A composed file in a plain diffusers pipeline paints what `set_adapters` paints, and what fused weights paint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import PeftModel

from arithmetic import (
    Combination,
    Vector,
    bake,
    bind,
    check,
    compose,
    convert,
    diffusers_state_dict,
    open_vector,
    open_weights,
    parse,
)
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
    assert (painted_with(shapes, dense_sum(drafts)) - wanted).abs().max() < CLOSE


def adapted_layer(pipe: StableDiffusionPipeline, module: str) -> torch.nn.Module:
    """The layer that a module of the table is."""
    component, _, name = module.partition(".")
    return getattr(pipe, component).get_submodule(name if component == "unet" else name.removeprefix("text_model."))


def dense_sum(drafts: tuple, factor: Callable[[str], float] = lambda _: 1.0) -> dict[str, torch.Tensor]:
    """Module -> sum_i lambda_i dW_i in float64, the first draft's times a factor, without this package."""
    total: dict[str, torch.Tensor] = {}
    for number, (weight, drawn) in enumerate(zip(WEIGHTS, drafts, strict=True)):
        for module, delta in drawn.deltas().items():
            scaled = weight * (factor(module) if number == 0 else 1.0) * torch.from_numpy(delta)
            total[module] = total.get(module, 0.0) + scaled
    return total


def painted_with(shapes: Shapes, deltas: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a pipeline paints with these deltas added to its weights."""
    pipe = shapes.pipeline()
    for module, delta in deltas.items():
        weight = adapted_layer(pipe, module).weight
        weight.data.copy_((weight.data.double() + delta.reshape(weight.shape)).float())
    return latents(pipe)


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT])
@pytest.mark.parametrize("stage", ["rank(3)", "error(0.4)"])
def test_a_reduced_file_paints_what_the_best_dense_approximation_paints(
    stage: str, layout: Layout, shapes: Shapes, drafts: tuple, vectors: tuple[Vector, ...], tmp_path: Path
) -> None:
    """Law 11. Ranks vary from module to module, as error(0.4) finds them."""
    expected = {}
    for module, delta in dense_sum(drafts).items():
        u, sigma, vt = torch.linalg.svd(delta, full_matrices=False)
        tails = (sigma.square().flip(0).cumsum(0).flip(0) / sigma.square().sum()).sqrt()
        rank = 3 if stage == "rank(3)" else int((tails > 0.4).sum())
        expected[module] = (u[:, :rank] * sigma[:rank]) @ vt[:rank]
    bound = bind(parse(f"0.7*style - 0.4*lcm | {stage}"), dict(zip(("style", "lcm"), vectors, strict=True)))
    path = tmp_path / ("folder" if layout is Layout.PEFT else "file.safetensors")
    compose(bound.combination, path, layout=layout, **TEXTS)
    pipe = shapes.pipeline()
    pipe.load_lora_weights(str(path))
    assert (latents(pipe) - painted_with(shapes, expected)).abs().max() < CLOSE


def test_a_scoped_file_paints_what_scaled_dense_deltas_paint(
    shapes: Shapes, drafts: tuple, vectors: tuple[Vector, ...], tmp_path: Path
) -> None:
    """Law 11. A scope reaches ResNets and the text encoder too, which diffusers' own scales per block do not."""
    text = "0.7*style{unet.down: 0.5, /resnets/: -0.25, text_encoder: 0} - 0.4*lcm"
    bound = bind(parse(text), dict(zip(("style", "lcm"), vectors, strict=True)))

    def factor(module: str) -> float:
        if module.startswith("text_encoder."):
            return 0.0
        return -0.25 if "resnets" in module else 0.5 if module.startswith("unet.down_blocks") else 1.0

    compose(bound.combination, tmp_path / "file.safetensors", **TEXTS)
    pipe = shapes.pipeline()
    pipe.load_lora_weights(str(tmp_path / "file.safetensors"))
    assert (latents(pipe) - painted_with(shapes, dense_sum(drafts, factor))).abs().max() < CLOSE


def test_a_baked_recipe_paints_what_set_adapters_paints(
    shapes: Shapes, vectors: tuple[Vector, ...], wanted: torch.Tensor, tmp_path: Path
) -> None:
    """Law 11."""
    base = open_weights(shapes.folder, shapes.architecture)
    opened = {"base": base, **dict(zip(("style", "lcm"), vectors, strict=True))}
    bound = bind(parse("base + 0.7*style - 0.4*lcm"), opened)
    bake(bound.bases, bound.combination, tmp_path / "baked")
    assert (latents(Shapes(tmp_path / "baked", shapes.architecture).pipeline()) - wanted).abs().max() < CLOSE


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
