#!/usr/bin/env python3
"""Writes what fuzzing of Hugging Face folders starts from: make_hf_seeds.py FOLDER

Each file is config.json, tokenizer.json and tokenizer_config.json with a zero byte between them. They are
kept in tests/fuzz/corpus/hf/; run this again only to add to them.
"""
import json
import os
import sys

CONFIG = dict(architectures=["LlamaForCausalLM"], hidden_size=64, intermediate_size=96,
              num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
              max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=1e4, hidden_act="silu",
              eos_token_id=[2, 1])
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BPE = dict(normalizer={"type": "NFC"}, pre_tokenizer=BYTES, post_processor=BYTES,
           added_tokens=[dict(id=0, content="<|end|>", special=True), dict(id=5, content="▁▁")],
           model=dict(type="BPE", vocab={"a": 1, "b": 2, "ab": 3, " b": 4},
                      merges=["a b", ["a", "b"], [" ", "b"]]))
SPM = dict(normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]},
           post_processor={"type": "TemplateProcessing", "single": [
               {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
           model=dict(type="BPE", byte_fallback=True, unk_token="<unk>", merges=["a b"],
                      vocab={"<unk>": 0, "<s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5}))
UNIGRAM = dict(pre_tokenizer={"type": "Metaspace", "prepend_scheme": "always"},
               normalizer={"type": "Precompiled", "precompiled_charsmap": "AAEC/w=="},
               model=dict(type="Unigram", unk_id=0, vocab=[["<unk>", 0.0], ["▁a", -1.5]]))
SAID = dict(bos_token="<s>", eos_token={"content": "<|end|>"}, add_bos_token=True,
            chat_template=[{"name": "default", "template": "{{ messages }}"}])
MORE = [
    ("MixtralForCausalLM", dict(num_local_experts=4, num_experts_per_tok=2)),
    ("Qwen2ForCausalLM", dict(rope_scaling=dict(type="yarn", factor=4.0, beta_fast=32))),
    ("Qwen3MoeForCausalLM", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                                 norm_topk_prob=True)),
    ("Gemma2ForCausalLM", dict(hidden_act="gelu", attn_logit_softcapping=50.0)),
    ("Gemma3ForCausalLM", dict(hidden_act="gelu", rope_parameters=dict(
        full_attention=dict(rope_theta=1e6), sliding_attention=dict(rope_theta=1e4)))),
    ("Phi3ForCausalLM", dict(partial_rotary_factor=0.5, rope_scaling=dict(
        type="longrope", short_factor=[1] * 4, long_factor=[2] * 4),
        original_max_position_embeddings=128)),
    ("LlamaForCausalLM", dict(rope_scaling=dict(rope_type="llama3", factor=8.0))),
]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    os.makedirs(sys.argv[1], exist_ok=True)
    seeds = {"bpe": (CONFIG, BPE, SAID), "sentencepiece": (CONFIG, SPM, SAID),
             "unigram": (CONFIG, UNIGRAM, {})}
    for i, (name, more) in enumerate(MORE):
        seeds[f"arch{i}"] = ({**CONFIG, "architectures": [name], **more}, BPE, {})
    for name, parts in seeds.items():
        with open(os.path.join(sys.argv[1], name), "wb") as f:
            f.write(b"\0".join(json.dumps(p, ensure_ascii=False).encode() for p in parts))


if __name__ == "__main__":
    main()
