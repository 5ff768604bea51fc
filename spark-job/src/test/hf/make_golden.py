#!/usr/bin/env python3
"""Makes the golden models under src/test/resources/hf: tiny random ones of each family, saved by transformers itself.

    python3 make_golden.py --out DIR

Writes DIR/<family>/{config.json, generation_config.json, *.safetensors, expected.json}; expected.json holds tokens and the
logits that transformers computes in float32 on the CPU. The variants together cover grouped-query attention, a head width
of its own, query/key norm, biases, both settings of norm_topk_prob, a shared gated expert, dense blocks by both fields,
tied embeddings, BF16 weights and sharded files.
"""

import argparse
import pathlib

import torch
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from check_export import expected, load, write

COMMON = dict(
    vocab_size=96,
    hidden_size=32,
    max_position_embeddings=64,
    bos_token_id=None,
    eos_token_id=0,
    pad_token_id=None,
    attn_implementation="eager",
)


def rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


def models():
    yield "mixtral", MixtralForCausalLM(MixtralConfig(
        **COMMON, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        num_local_experts=4, num_experts_per_tok=2, rms_norm_eps=1e-5, router_aux_loss_coef=0.02,
        rope_parameters=rope(1e6))), {}
    yield "qwen2_moe", Qwen2MoeForCausalLM(Qwen2MoeConfig(
        **COMMON, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24, shared_expert_intermediate_size=40,
        norm_topk_prob=False, mlp_only_layers=[1], qkv_bias=True, rope_parameters=rope(1e6))), {"dtype": torch.bfloat16}
    yield "qwen3_moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(
        **COMMON, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True, decoder_sparse_step=2,
        mlp_only_layers=[], tie_word_embeddings=True, rope_parameters=rope(1e4))), {"max_shard_size": "60KB"}


def randomize(model, generator):
    """Weights that make logits of order one and clear expert choices; norms and biases are no identities either."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.2 * noise
        else:
            value = noise / parameter.shape[-1] ** 0.5
        with torch.no_grad():
            parameter.copy_(value)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True, type=pathlib.Path)
    out = parser.parse_args().out
    for family, model, how in models():
        randomize(model, torch.Generator().manual_seed(20260101))
        if "dtype" in how:
            model = model.to(how["dtype"])
        folder = out / family
        model.save_pretrained(folder, max_shard_size=how.get("max_shard_size", "1GB"))
        record = expected(load(folder)[0], folder)
        write(folder / "expected.json", record)
        print(family, "gap", record["smallest_router_gap"], "float32 error", record["float32_error"])


if __name__ == "__main__":
    main()
