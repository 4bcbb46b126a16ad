"""Folders as Hugging Face transformers writes them, and the tokens that it computes from them.

    pip install transformers==5.24.0
    python -m tests.backbones.make_golden

Each is a tower of two narrow blocks with random weights: config.json and model.safetensors, and
tokens.safetensors with the hidden states of one image after each block, without prefix tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

GOLDEN = Path(__file__).with_name("golden")
SIDE = 16
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE}


def image() -> torch.Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def main() -> None:
    import transformers as hf

    v1, v3 = SIZES | {"patch_size": 4}, SIZES | {"patch_size": 4, "intermediate_size": 32}
    gated = {"use_gated_mlp": True, "hidden_act": "silu", "num_register_tokens": 3}
    siglip = SIZES | {"patch_size": 4, "intermediate_size": 20}
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10}
    clip = {"intermediate_size": 16}
    towers = {
        "dinov2": hf.Dinov2Model(hf.Dinov2Config(**v1)),
        "dinov2-swiglu": hf.Dinov2Model(hf.Dinov2Config(**v1, use_swiglu_ffn=True)),
        "dinov2-registers": hf.Dinov2WithRegistersModel(
            hf.Dinov2WithRegistersConfig(**v1, num_register_tokens=2)
        ),
        "dinov3": hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**v3, num_register_tokens=2)),
        "dinov3-gated": hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**v3, **gated)),
        "siglip": hf.SiglipModel(
            hf.SiglipConfig(vision_config=siglip, text_config=text | {"intermediate_size": 8})
        ),
        "clip-vision": hf.CLIPVisionModel(hf.CLIPVisionConfig(**v1, **clip)),
        "clip": hf.CLIPModel(
            hf.CLIPConfig(vision_config=v1 | clip, text_config=text | clip, projection_dim=6)
        ),
    }
    for name, model in towers.items():
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        folder = GOLDEN / name
        model.eval().save_pretrained(folder)
        tower = getattr(model, "vision_model", model)
        with torch.inference_mode():
            states = tower(pixel_values=image(), output_hidden_states=True).hidden_states
        patches = (SIDE // 4) ** 2
        tokens = {str(tap): states[tap][:, -patches:].contiguous() for tap in (1, 2)}
        save_file(tokens, folder / "tokens.safetensors")


if __name__ == "__main__":
    main()
