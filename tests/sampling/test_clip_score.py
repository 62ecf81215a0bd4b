"""The CLIP score with weights from a folder: what a tiny CLIP with random weights says, without any network."""

import pytest
import torch
from PIL import Image

from sampling import clip_scores
from sampling.errors import ClipUnreadable


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP of a few thousand weights, with its processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from demo.training import networks

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = networks.write_tokenizer(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        text = {**sizes, **ends, "vocab_size": len(tokenizer), "projection_dim": 8}
        vision = {**sizes, "image_size": 16, "patch_size": 8, "projection_dim": 8}
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_the_score_is_that_of_the_folders_model(clip_folder):
    from transformers import CLIPModel, CLIPProcessor

    images = [Image.effect_noise((32, 32), 80).convert("RGB"), Image.new("RGB", (32, 32), (200, 20, 20))]
    prompts = ["a red circle", "a blue square"]
    scores = clip_scores(clip_folder, images, prompts)
    model, processor = CLIPModel.from_pretrained(clip_folder), CLIPProcessor.from_pretrained(clip_folder)
    with torch.no_grad():
        given = processor(text=prompts, images=images, return_tensors="pt", padding=True)
        cosines = torch.nn.functional.cosine_similarity(
            *[model(**given)[key] for key in ("image_embeds", "text_embeds")]
        )
    assert scores == pytest.approx([max(100 * float(cosine), 0) for cosine in cosines], abs=1e-3)


def test_a_folder_that_is_no_clip_is_refused(tmp_path):
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ClipUnreadable, match="no config"):
        clip_scores(tmp_path, [image], ["a"])
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ClipUnreadable, match="cannot open it"):
        clip_scores(tmp_path, [image], ["a"])
