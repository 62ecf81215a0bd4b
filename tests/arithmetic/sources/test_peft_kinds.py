"""Every kind that PEFT saves against what PEFT itself merges, in float64."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft.tuners.boft.layer
import pytest
import torch
from peft import BOFTConfig, IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from arithmetic import DialectRefused, Vector, anchored_delta, open_vector
from formats import Architecture, ModuleSpec

NAMES = {
    "linear": "mid_block.resnets.0.time_emb_proj",
    "conv": "mid_block.resnets.0.conv1",
    "square": "mid_block.resnets.0.conv2",
    "point": "mid_block.attentions.0.proj_in",
    "table": "text_model.embeddings.token_embedding",
}
TABLE = Architecture(
    "small",
    {
        f"unet.{NAMES['linear']}": ModuleSpec("linear", (12, 8)),
        f"unet.{NAMES['conv']}": ModuleSpec("conv", (8, 4, 3, 3)),
        f"unet.{NAMES['square']}": ModuleSpec("conv", (4, 4, 3, 3)),
        f"unet.{NAMES['point']}": ModuleSpec("conv", (8, 12, 1, 1)),
    },
)
WORDS = Architecture("words", {f"text_encoder.{NAMES['table']}": ModuleSpec("embedding", (20, 6))})
LAYERS = [NAMES[name] for name in ("linear", "conv", "square", "point")]


class Network(nn.Module):
    """The layers of a table under their names."""

    def __init__(self, table: Architecture) -> None:
        super().__init__()
        for module, spec in table.modules.items():
            *path, last = module.split(".")[1:]
            place: nn.Module = self
            for name in path:
                if name not in dict(place.named_children()):
                    place.add_module(name, nn.Module())
                place = getattr(place, name)
            out, inside, *kernel = spec.shape
            made = {
                "linear": lambda out=out, inside=inside: nn.Linear(inside, out),
                "embedding": lambda out=out, inside=inside: nn.Embedding(out, inside),
                "conv": lambda out=out, inside=inside, kernel=kernel: nn.Conv2d(inside, out, kernel),
            }
            place.add_module(last, made[spec.kind]())


class Adapted:
    """A network before PEFT, after merging, and the folder that PEFT saved between."""

    def __init__(self, folder: Path, config: Any, table: Architecture = TABLE, strength: float = 1.0) -> None:
        torch.manual_seed(0)
        network = Network(table).double()
        self.base = {name: one.detach().clone() for name, one in network.state_dict().items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: PeftModel = get_peft_model(network, config).double()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter) * 0.2)
                        if "magnitude" in name:
                            parameter.abs_()
            model.save_pretrained(folder)
            for layer in model.base_model.model.modules():
                if strength != 1 and hasattr(layer, "scaling"):
                    layer.set_scale("default", strength)
            self.merged = {name: one.detach() for name, one in model.merge_and_unload().state_dict().items()}
        self.vector = open_vector(folder, table)

    def expected(self, module: str) -> Tensor:
        name = module.partition(".")[2]
        name = name if name.endswith(".bias") else f"{name}.weight"
        return (self.merged[name] - self.base[name]).reshape(self.base[name].shape[0], -1)

    def found(self, module: str, strength: float = 1.0) -> Tensor:
        if module not in self.vector.anchored:
            return strength * self.vector.delta(module).dense()
        name = module.partition(".")[2]
        base = self.base[name if name.endswith(".bias") else f"{name}.weight"]
        return anchored_delta(self.vector, module, base, strength, "peft").dense()


def assert_same(adapted: Adapted, strength: float = 1.0, tolerance: float = 1e-12) -> None:
    vector: Vector = adapted.vector
    assert (vector.unmatched, vector.misfits) == ((), ())
    assert {module for module in vector.modules if not module.endswith(".bias")} == set(vector.architecture.modules)
    for module in vector.modules:
        expected, found = adapted.expected(module), adapted.found(module, strength)
        assert (found - expected).norm() <= tolerance * max(float(expected.norm()), 1e-3), module


ADDITIVE: dict[str, Callable[[], Any]] = {
    "lora": lambda: LoraConfig(r=3, lora_alpha=5, target_modules=LAYERS, init_lora_weights=False),
    "rslora": lambda: LoraConfig(r=3, lora_alpha=5, target_modules=LAYERS, use_rslora=True, init_lora_weights=False),
    "patterns": lambda: LoraConfig(
        r=3, lora_alpha=5, target_modules=LAYERS, rank_pattern={"conv1": 2}, alpha_pattern={"resnets.0.*proj": 7}
    ),
    "lora-bias": lambda: LoraConfig(r=3, lora_alpha=5, target_modules=LAYERS, lora_bias=True),
    "loha": lambda: LoHaConfig(r=2, alpha=3, target_modules=LAYERS, alpha_pattern={"conv1": 5}),
    "loha-effective": lambda: LoHaConfig(r=2, alpha=3, target_modules=LAYERS, use_effective_conv2d=True),
    "lokr": lambda: LoKrConfig(r=1, alpha=3, target_modules=LAYERS, decompose_both=True),
    "lokr-effective": lambda: LoKrConfig(r=1, alpha=3, target_modules=LAYERS, use_effective_conv2d=True),
    "lokr-whole": lambda: LoKrConfig(r=8, alpha=3, target_modules=LAYERS, rank_pattern={"conv1": 16}),
}


@pytest.mark.parametrize("kind", sorted(ADDITIVE))
def test_what_peft_adds_is_what_we_add(kind: str, tmp_path: Path) -> None:
    strength = 1.0 if kind == "lora-bias" else 0.7
    tolerance = 1e-7 if "loha" in kind else 1e-12  # PEFT keeps a LoHa's scale in float32
    assert_same(Adapted(tmp_path, ADDITIVE[kind](), strength=strength), strength, tolerance)


@pytest.mark.parametrize("use_dora", [False, True])
def test_an_adapted_embedding_is_pefts(use_dora: bool, tmp_path: Path) -> None:
    config = LoraConfig(r=3, lora_alpha=5, target_modules=[NAMES["table"]], use_dora=use_dora)
    assert_same(Adapted(tmp_path, config, WORDS))


@pytest.mark.parametrize("strength", [1.0, 0.7, 0.0])
def test_dora_at_any_strength_is_pefts(strength: float, tmp_path: Path) -> None:
    config = LoraConfig(r=3, lora_alpha=5, target_modules=LAYERS, use_dora=True)
    assert_same(Adapted(tmp_path, config, strength=strength), strength)


ROTATIONS: dict[str, dict[str, Any]] = {
    "exact": {"use_cayley_neumann": False},
    **{f"series-{terms}": {"num_cayley_neumann_terms": terms} for terms in range(1, 8)},
    "coft": {"coft": True, "eps": 0.3},
    "shared": {"block_share": True},
    "shared-coft": {"block_share": True, "coft": True, "eps": 0.1, "use_cayley_neumann": False},
}


@pytest.mark.parametrize("settings", sorted(ROTATIONS))
def test_oft_is_pefts(settings: str, tmp_path: Path) -> None:
    config = OFTConfig(r=0, oft_block_size=4, target_modules=LAYERS, init_weights=False, **ROTATIONS[settings])
    assert_same(Adapted(tmp_path, config), tolerance=1e-7)  # PEFT's exact transform solves against a float32 identity


def test_the_series_and_the_exact_transform_of_peft_turn_opposite_ways(tmp_path: Path) -> None:
    """peft 0.21 sums (I + Q) (I - Q)^-1 and solves (I - Q) (I + Q)^-1: one folder, two rotations."""
    config = OFTConfig(r=0, oft_block_size=4, target_modules=LAYERS, num_cayley_neumann_terms=30)
    adapted = Adapted(tmp_path, config)
    module = f"unet.{NAMES['linear']}"
    turned = adapted.found(module) + adapted.base[f"{NAMES['linear']}.weight"]
    edited = json.loads((tmp_path / "adapter_config.json").read_text()) | {"use_cayley_neumann": False}
    (tmp_path / "adapter_config.json").write_text(json.dumps(edited))
    adapted.vector = open_vector(tmp_path, TABLE)
    back = adapted.base[f"{NAMES['linear']}.weight"]
    exact = anchored_delta(adapted.vector, module, turned, 1.0, "peft").dense() + turned
    torch.testing.assert_close(exact, back, rtol=0, atol=1e-3)


def test_boft_is_pefts(tmp_path: Path) -> None:
    assert_same(Adapted(tmp_path, BOFTConfig(boft_block_size=4, target_modules=LAYERS)), tolerance=1e-7)


class BlockDiagonal:
    """PEFT has its butterfly's block matrices in a CUDA extension alone; torch's make the same ones."""

    @staticmethod
    def apply(blocks: Tensor) -> Tensor:
        return torch.stack([torch.block_diag(*stage) for stage in blocks])


@pytest.mark.parametrize("stages", [2, 3])
def test_a_butterfly_of_several_stages_is_pefts(stages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peft.tuners.boft.layer, "get_fbd_cuda", lambda: True)
    monkeypatch.setattr(peft.tuners.boft.layer, "FastBlockDiag", BlockDiagonal)
    table = Architecture("one", {f"unet.{NAMES['linear']}": ModuleSpec("linear", (6, 16))})
    config = BOFTConfig(boft_block_size=2, boft_n_butterfly_factor=stages, target_modules=[NAMES["linear"]])
    assert_same(Adapted(tmp_path, config, table), tolerance=1e-7)


@pytest.mark.parametrize("feedforward", [[], [NAMES["square"], NAMES["linear"]], LAYERS, ".*(conv1|conv2)"])
def test_ia3_is_pefts_biases_included(feedforward: list[str] | str, tmp_path: Path) -> None:
    targets = ".*(time_emb_proj|conv1|conv2|proj_in)" if isinstance(feedforward, str) else LAYERS
    config = IA3Config(target_modules=targets, feedforward_modules=feedforward)
    assert_same(Adapted(tmp_path, config))


@pytest.mark.parametrize(
    "config",
    [
        OFTConfig(r=0, oft_block_size=4, target_modules=LAYERS),
        BOFTConfig(boft_block_size=4, target_modules=LAYERS),
        IA3Config(target_modules=LAYERS, feedforward_modules=[]),
    ],
    ids=["oft", "boft", "ia3"],
)
def test_what_peft_applies_whole_has_no_strength_but_1(config: Any, tmp_path: Path) -> None:
    adapted = Adapted(tmp_path, config)
    with pytest.raises(DialectRefused, match=r"no strength but 1 for it, got 0\.5"):
        adapted.found(f"unet.{NAMES['linear']}", 0.5)
    with pytest.raises(DialectRefused, match=r"LyCORIS does not read .* Write dialect=peft"):
        anchored_delta(adapted.vector, f"unet.{NAMES['linear']}", torch.zeros(12, 8), 1.0, "lycoris")
