"""The networks of the shapes base, in the ordinary diffusers and transformers classes."""

import json
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, ResNetConfig, ResNetForImageClassification

from demo.captions import ATTRIBUTES, all_attributes, caption
from demo.renderer import STYLES

TOKENS = 16
"""Length of a tokenised caption: start, eight words, end, padding."""
WIDTH = 96
"""Width of the text encoder and of cross attention."""

JUDGE_HEADS: dict[str, tuple[str, ...]] = {**ATTRIBUTES, "style": STYLES}


def autoencoder() -> AutoencoderKL:
    """Pictures (B, 3, 64, 64) in [-1, 1] to latents (B, 4, 8, 8): 1.0 M parameters."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )


def unet() -> UNet2DConditionModel:
    """Noisy latents (B, 4, 8, 8), timesteps and text (B, 16, 96) to predicted noise: 4.2 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    """Stable Diffusion's schedule: scaled-linear betas, 1,000 timesteps, epsilon or v prediction."""
    return DDIMScheduler(
        prediction_type=prediction_type,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def text_encoder(vocabulary: int) -> CLIPTextModel:
    """A two-layer CLIP text encoder of width 96."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=WIDTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write vocab.json and merges.txt in which every caption word is one token; return the tokenizer over them."""
    words = sorted({word for attributes in all_attributes() for word in caption(attributes).split()})
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            parts[:2] = ["".join(pair)]
            pieces.append(parts[0])
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges))
    return CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=TOKENS)


def judge() -> ResNetForImageClassification:
    """Pictures (B, 3, 64, 64) in [-1, 1] to 19 logits, labelled "head=value"."""
    labels = [f"{head}={value}" for head, values in JUDGE_HEADS.items() for value in values]
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=24,
            hidden_sizes=[24, 48, 96],
            depths=[1, 1, 1],
            layer_type="basic",
            downsample_in_first_stage=False,
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
        )
    )
