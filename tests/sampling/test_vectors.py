"""Base + vectors: what set_strengths paints is theta_pre + sum lambda_i tau_i, and no weight is loaded for it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from arithmetic import Attachment
from arithmetic.sources.vector import open_vector
from formats import Architecture, Layout, architecture_of_folder, factor_keys
from sampling import Settings, attach, attached, denoise, detach, hold, load_pipeline, set_strengths, strengths
from sampling.errors import UnsupportedSetting, VectorMismatch
from sampling.prompts import embed

PROMPTS = ["a large red circle on a white background", "a small blue cross on a black background"]
UNET = (
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "unet.down_blocks.0.resnets.0.conv1",
    "unet.mid_block.resnets.0.time_emb_proj",
    "unet.up_blocks.0.upsamplers.0.conv",
)
TEXT = (
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
    "text_encoder.text_model.encoder.layers.1.mlp.fc1",
)


@pytest.fixture(scope="session")
def shapes(base_folder):
    return architecture_of_folder(base_folder, "shapes")


@pytest.fixture(scope="session")
def make_vector(tmp_path_factory, shapes):
    """A vector file: a random delta of mixed ranks on each of `modules`, alpha half the rank where it has one."""
    folder = tmp_path_factory.mktemp("vectors")

    def make(name, modules, seed, architecture=shapes, layout=Layout.DIFFUSERS):
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for i, module in enumerate(modules):
            (out, inside, *kernel), rank = architecture.modules[module].shape, 2 + 3 * (i % 2)
            keys = factor_keys(layout, module, architecture)
            state[keys.up] = torch.randn(out, rank, *(1 for _ in kernel), generator=generator)
            state[keys.down] = 0.1 * torch.randn(rank, inside, *kernel, generator=generator)
            if keys.alpha:
                state[keys.alpha] = torch.tensor(rank / 2)
        save_file(state, folder / f"{name}.safetensors")
        return open_vector(folder / f"{name}.safetensors", architecture, name=name)

    return make


@pytest.fixture(scope="session")
def style(make_vector):
    return make_vector("style", (*UNET, *TEXT), 1)


@pytest.fixture(scope="session")
def lcm(make_vector):
    return make_vector("lcm", UNET[1:], 2, layout=Layout.KOHYA)


def painted(pipe):
    return denoise(pipe, PROMPTS, [1, 2], Settings("ddim", 2, 2.0))


def merged(pipe, terms):
    """An independent oracle: `pipe` with sum lambda scale up @ down added to its weights, computed in float64."""
    for weight, vector in terms:
        for module in vector.modules:
            component, _, name = module.partition(".")
            target = getattr(pipe, component).get_submodule(name.removeprefix("text_model."))
            factors = vector.factors(module)
            up, down = factors.up.double().flatten(1), factors.down.double().flatten(1)
            delta = weight * factors.scale * (up @ down).reshape(target.weight.shape)
            target.weight.data = (target.weight.double() + delta).float()
    return pipe


@pytest.mark.parametrize("lambdas", [(0.8, 1.0), (0.0, 1.2), (-0.5, 0.3)])
def test_strengths_paint_what_the_merged_weights_paint(base_folder, fresh_base, style, lcm, lambdas):
    attach(fresh_base, {"style": style, "lcm": lcm})
    set_strengths(fresh_base, {"style": lambdas[0], "lcm": lambdas[1]})
    expected = painted(merged(load_pipeline(base_folder), zip(lambdas, (style, lcm), strict=True)))
    torch.testing.assert_close(painted(fresh_base), expected, rtol=1e-4, atol=1e-4)


def test_the_vectors_of_the_tests_have_scales_other_than_one(lcm):
    assert {lcm.factors(module).scale for module in lcm.modules} == {0.5}


def test_vectors_are_silent_until_given_a_strength_and_when_it_is_zero(base, fresh_base, style, lcm):
    plain = painted(base)
    attach(fresh_base, {"style": style, "lcm": lcm})
    assert torch.equal(painted(fresh_base), plain)
    set_strengths(fresh_base, {"style": 1.0})
    assert (painted(fresh_base) - plain).abs().max() > 1e-2
    set_strengths(fresh_base, {"style": 0.0})
    assert torch.equal(painted(fresh_base), plain)
    set_strengths(fresh_base, {"lcm": 0.5})
    set_strengths(fresh_base, {})
    assert torch.equal(painted(fresh_base), plain)


def test_a_strength_is_set_without_loading_or_changing_a_weight(fresh_base, style, lcm):
    attach(fresh_base, {"style": style, "lcm": lcm})

    def weights():
        networks = (fresh_base.unet, fresh_base.text_encoder)
        return [(p.data_ptr(), p._version) for network in networks for p in network.parameters()]

    before = weights()
    set_strengths(fresh_base, {"style": 0.8, "lcm": 1.0})
    set_strengths(fresh_base, {"lcm": 0.3})
    assert weights() == before


def test_the_last_strength_counts(fresh_base, style):
    attach(fresh_base, {"style": style})
    set_strengths(fresh_base, {"style": 0.7})
    wanted = painted(fresh_base)
    for strength in (1.0, 0.2, 0.7):
        set_strengths(fresh_base, {"style": strength})
    assert torch.equal(painted(fresh_base), wanted)


def test_the_text_encoders_part_reaches_the_prompt(fresh_base, make_vector):
    attach(fresh_base, {"words": make_vector("words", TEXT, 3)})
    plain = embed(fresh_base, PROMPTS).text
    set_strengths(fresh_base, {"words": 1.0})
    strong = embed(fresh_base, PROMPTS).text
    assert (strong - plain).abs().max() > 1e-2
    set_strengths(fresh_base, {"words": 0.0})
    assert torch.equal(embed(fresh_base, PROMPTS).text, plain)


def test_detaching_gives_the_base_back(base, fresh_base, style, lcm):
    attach(fresh_base, {"style": style, "lcm": lcm})
    set_strengths(fresh_base, {"style": 1.0, "lcm": 1.0})
    detach(fresh_base, "style")
    assert attached(fresh_base) == ("lcm",)
    detach(fresh_base)
    assert attached(fresh_base) == ()
    assert torch.equal(painted(fresh_base), painted(base))
    assert not any(isinstance(layer, BaseTunerLayer) for layer in fresh_base.unet.modules())
    attach(fresh_base, {"style": style})
    set_strengths(fresh_base, {"style": 1.0})
    assert (painted(fresh_base) - painted(base)).abs().max() > 1e-2


def test_detaching_one_vector_leaves_the_strengths_of_the_others(fresh_base, style, lcm, make_vector):
    attach(fresh_base, {"style": style, "lcm": lcm, "words": make_vector("words", TEXT, 3)})
    set_strengths(fresh_base, {"style": 1.0, "lcm": 0.5, "words": 0.25})
    set_strengths(fresh_base, {"style": 1.0, "words": 0.25})
    assert strengths(fresh_base) == {"lcm": 0.0, "style": 1.0, "words": 0.25}
    detach(fresh_base, "style")
    assert strengths(fresh_base) == {"lcm": 0.0, "words": 0.25}
    set_strengths(fresh_base, {"lcm": -0.5})
    assert strengths(fresh_base) == {"lcm": -0.5, "words": 0.0}


@pytest.mark.parametrize("name", ["lcm-sd1.5", "papercut:3", "sha256:ab.cd", "100%.2E", "a/b"])
def test_any_reference_is_a_name(fresh_base, style, name):
    attach(fresh_base, {name: style})
    assert attached(fresh_base) == (name,)
    set_strengths(fresh_base, {name: 0.5})
    detach(fresh_base, name)
    assert attached(fresh_base) == ()


def test_a_name_is_attached_once_and_known_before_it_is_used(fresh_base, style):
    attach(fresh_base, {"style": style})
    with pytest.raises(VectorMismatch, match="'style' is attached already"):
        attach(fresh_base, {"style": style})
    with pytest.raises(VectorMismatch, match=r"other: not attached to this pipeline\. Attached: style"):
        set_strengths(fresh_base, {"other": 1.0})
    with pytest.raises(UnsupportedSetting, match="style: a strength must be a finite number, got nan"):
        set_strengths(fresh_base, {"style": float("nan")})
    with pytest.raises(VectorMismatch, match="other: not attached"):
        detach(fresh_base, "other")


def test_a_vector_of_another_architecture_leaves_nothing_behind(base, fresh_base, shapes, make_vector, style):
    attach(fresh_base, {"style": style})
    wide = {
        name: replace(spec, shape=(spec.shape[0], 2 * spec.shape[1])) if name == UNET[0] else spec
        for name, spec in shapes.modules.items()
    }
    deep = {**shapes.modules, "unet.down_blocks.7.resnets.0.conv1": shapes.modules[UNET[1]]}
    for vector in (
        make_vector("wide", UNET, 4, Architecture("wide", wide)),
        make_vector("deep", ("unet.down_blocks.7.resnets.0.conv1", *UNET), 5, Architecture("deep", deep)),
        make_vector("deeper", ("unet.down_blocks.7.resnets.0.conv1",), 6, Architecture("deep", deep)),
    ):
        with pytest.raises(VectorMismatch, match=f"^{vector.name}: .*The vector is for another architecture"):
            attach(fresh_base, {"sound": style, vector.name: vector})
        assert attached(fresh_base) == ("style",)
        assert torch.equal(painted(fresh_base), painted(base))
    set_strengths(fresh_base, {"style": 1.0})
    assert (painted(fresh_base) - painted(base)).abs().max() > 1e-2


def test_shared_modules_hold_both_vectors_at_their_lambdas(fresh_base, style, lcm):
    attach(fresh_base, {"style": style, "lcm": lcm})
    set_strengths(fresh_base, {"style": 0.8, "lcm": 1.0})
    layer = fresh_base.unet.get_submodule(UNET[1].removeprefix("unet."))
    assert sorted(layer.active_adapters) == ["lcm", "style"]
    assert layer.scaling == {"style": 0.8, "lcm": 1.0}


def test_attaching_another_vector_silences_them_all(base, fresh_base, style, lcm):
    attach(fresh_base, {"style": style})
    set_strengths(fresh_base, {"style": 1.0})
    attach(fresh_base, {"lcm": lcm})
    assert torch.equal(painted(fresh_base), painted(base))


def at(vector, strength, name=None, **scoped):
    """A vector as a part of a sum: one strength, or others in the modules that contain a word."""
    by_module = {
        module: next((s for word, s in scoped.items() if word in module), strength) for module in vector.modules
    }
    return Attachment(name or vector.name, vector, by_module)


def scoped_terms(part):
    """The part as (lambda, vector) terms of the oracle, a module each."""
    for module, strength in part.strengths.items():
        yield strength, SimpleNamespace(modules=(module,), factors=part.source.factors)


def injected(pipe):
    """The factors that stand beside the base's weights, each by its identity."""
    return {
        (name, adapter): id(layer.lora_A[adapter].weight)
        for network in (pipe.unet, pipe.text_encoder)
        for name, layer in network.named_modules()
        if isinstance(layer, BaseTunerLayer)
        for adapter in layer.lora_A
    }


def test_turning_a_strength_or_a_scope_opens_no_file_and_injects_no_module(base_folder, fresh_base, make_vector, lcm):
    mine = make_vector("mine", (*UNET, *TEXT), 8)
    assert hold(fresh_base, [at(mine, 0.5), at(lcm, 1.0)]) == 2
    before = injected(fresh_base)
    assert {adapter for _, adapter in before} == {"mine", "lcm"}
    mine.weights_path.unlink()
    for parts in ([at(mine, 0.0), at(lcm, 1.0)], [at(mine, 1.2, up_blocks=0.3, text=0.0), at(lcm, -0.5)]):
        assert hold(fresh_base, parts) == 0
        assert injected(fresh_base) == before
    again = make_vector("mine", (*UNET, *TEXT), 8)
    expected = merged(load_pipeline(base_folder), scoped_terms(at(again, 1.2, up_blocks=0.3, text=0.0)))
    expected = painted(merged(expected, [(-0.5, lcm)]))
    torch.testing.assert_close(painted(fresh_base), expected, rtol=1e-4, atol=1e-4)


def test_another_recipe_loads_what_is_new_and_drops_what_is_gone(base, fresh_base, style, lcm, make_vector):
    words = make_vector("words", TEXT, 3)
    assert hold(fresh_base, [at(style, 0.5), at(lcm, 1.0)]) == 2
    kept = {place: factors for place, factors in injected(fresh_base).items() if place[1] == "lcm"}
    assert hold(fresh_base, [at(words, 1.0), at(lcm, 1.0)]) == 1
    now = injected(fresh_base)
    assert {adapter for _, adapter in now} == {"lcm", "words"}
    assert kept.items() <= now.items()
    assert hold(fresh_base, []) == 0
    assert attached(fresh_base) == ()
    assert torch.equal(painted(fresh_base), painted(base))


def test_what_is_kept_paints_the_same_bits_as_what_is_loaded_for_the_picture(base_folder, fresh_base, style, lcm):
    hold(fresh_base, [at(lcm, 0.2)])
    hold(fresh_base, [at(style, 1.0), at(lcm, 0.7)])
    other = load_pipeline(base_folder)
    hold(other, [at(style, 1.0), at(lcm, 0.7)])
    assert torch.equal(painted(fresh_base), painted(other))


def test_a_silent_part_is_not_loaded_and_a_taken_name_gets_a_number(fresh_base, style, lcm):
    assert hold(fresh_base, [at(style, 0.0)]) == 0
    assert attached(fresh_base) == ()
    hold(fresh_base, [at(style, 1.0, name="one")])
    assert hold(fresh_base, [at(lcm, 1.0, name="one"), at(style, 1.0)]) == 1
    assert attached(fresh_base) == ("one", "one#2")


def test_other_bytes_under_the_same_path_are_loaded(fresh_base, make_vector):
    first = make_vector("rewritten", UNET, 20)
    hold(fresh_base, [at(first, 1.0)])
    before = painted(fresh_base)
    assert hold(fresh_base, [at(make_vector("rewritten", UNET, 21), 1.0)]) == 1
    assert (painted(fresh_base) - before).abs().max() > 1e-2


def test_a_part_that_does_not_fit_leaves_the_base_alone(base, fresh_base, shapes, style, make_vector):
    deep = {**shapes.modules, "unet.down_blocks.7.resnets.0.conv1": shapes.modules[UNET[1]]}
    misfit = make_vector("misfit", ("unet.down_blocks.7.resnets.0.conv1",), 6, Architecture("deep", deep))
    with pytest.raises(VectorMismatch, match="misfit"):
        hold(fresh_base, [at(style, 1.0), at(misfit, 1.0)])
    assert attached(fresh_base) == ()
    assert torch.equal(painted(fresh_base), painted(base))
    assert hold(fresh_base, [at(style, 1.0)]) == 1


def test_strengths_by_module_are_kept_when_another_vector_goes(fresh_base, style, lcm):
    by_module = dict.fromkeys(style.modules, 0.5) | {UNET[0]: -1.0}
    attach(fresh_base, {"style": style, "lcm": lcm})
    set_strengths(fresh_base, {"style": by_module, "lcm": 1.0})
    assert strengths(fresh_base) == {"lcm": 1.0, "style": by_module}
    detach(fresh_base, "lcm")
    assert strengths(fresh_base) == {"style": by_module}
    with pytest.raises(UnsupportedSetting, match="style: a strength must be a finite number, got nan"):
        set_strengths(fresh_base, {"style": {UNET[0]: float("nan")}})
