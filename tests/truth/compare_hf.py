#!/usr/bin/env python3
"""brisk beside Hugging Face `transformers`: the definition of each architecture, not our reading of it.

    BRISK=build/brisk compare_hf.py [--only PATTERN]

Small random models of every architecture are saved by transformers as folders (safetensors, config,
tokenizer). brisk loads each folder, and the GGUF file that `brisk convert` makes of it; float32 logits
of both must equal those that torch computes in float64, but for float16 keys and values. forward.py,
the other tests' truth, must equal torch's to 5e-6.

needs torch, transformers, tokenizers, gguf and numpy. Exit status 1 when something differs.
"""
import argparse
import fnmatch
import os
import sys
import tempfile

import numpy as np
import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../tools")]
from forward import Model  # noqa: E402 (found by the line above)
from test_truth import brisk_logits  # noqa: E402
import subprocess  # noqa: E402

BRISK = os.environ.get("BRISK", os.path.join(HERE, "../../build/brisk"))
TEXT = os.path.join(HERE, "../data/prose.txt")
TOKENS, VOCAB = 120, 320
CONVERTED, LOADED = 5e-6, 3e-3  # largest difference by the deviation of the logits

SMALL = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-6,
             bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
GEMMA = dict(SMALL, head_dim=32, num_hidden_layers=7, sliding_window=40, tie_word_embeddings=True,
             query_pre_attn_scalar=32)
MOE = dict(SMALL, num_experts_per_tok=2, moe_intermediate_size=48, num_experts=6)


def rope(kind, theta=10000.0, **more):
    return {"rope_parameters": dict(rope_type=kind, rope_theta=theta, **more)}


CASES = {
    "llama": ("Llama", SMALL),
    "llama, 3.1 scaling": ("Llama", dict(SMALL, max_position_embeddings=1024, **rope(
        "llama3", 5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=128))),
    "llama, linear": ("Llama", dict(SMALL, **rope("linear", factor=4.0))),
    "llama, tied, head size": ("Llama", dict(SMALL, head_dim=48, tie_word_embeddings=True)),
    "mistral": ("Mistral", dict(SMALL, sliding_window=None)),
    "mixtral": ("Mixtral", dict(SMALL, num_local_experts=4, num_experts_per_tok=2)),
    "qwen2": ("Qwen2", SMALL),
    "qwen2, yarn": ("Qwen2", dict(SMALL, max_position_embeddings=512, **rope(
        "yarn", 1e6, factor=4.0, original_max_position_embeddings=128))),
    "qwen3": ("Qwen3", dict(SMALL, head_dim=32)),
    "qwen3_moe": ("Qwen3Moe", dict(MOE, head_dim=32, norm_topk_prob=True)),
    "gemma2": ("Gemma2", dict(GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=5.0)),
    "gemma3": ("Gemma3Text", GEMMA),
    "phi3": ("Phi3", dict(SMALL, sliding_window=None)),
    "phi3, window": ("Phi3", dict(SMALL, sliding_window=50)),
    "phi3, longrope": ("Phi3", dict(SMALL, max_position_embeddings=1024, sliding_window=None,
                                    original_max_position_embeddings=64, **rope(
        "longrope", short_factor=[1.0 + i / 9 for i in range(8)],
        long_factor=[1.0 + i for i in range(8)], original_max_position_embeddings=64))),
}


def save_tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    with open(TEXT, encoding="utf-8") as file:
        t.train_from_iterator(file, trainers.BpeTrainer(
            vocab_size=VOCAB, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.save(os.path.join(folder, "tokenizer.json"))


def make(folder, kind, options):
    """Saves a random model; its torch logits in float64."""
    torch.manual_seed(1)
    config = getattr(transformers, kind + "Config")(**options)
    config._attn_implementation = config._experts_implementation = "eager"
    model = getattr(transformers, kind.replace("Gemma3Text", "Gemma3") + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1:
                p.mul_(4.0 if "embed" not in name else 20.0)
            else:
                p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    tokens = torch.randint(3, VOCAB, (1, TOKENS))
    with torch.no_grad():
        logits = model.double()(tokens, use_cache=False).logits[0].numpy()
    return tokens[0].tolist(), logits


def far(ours, true):
    return float(np.abs(ours - true).max() / true.std())


def check(name, kind, options):
    with tempfile.TemporaryDirectory() as folder:
        hf = os.path.join(folder, "hf")
        tokens, true = make(hf, kind, options)
        file = os.path.join(folder, "model.gguf")
        done = subprocess.run([BRISK, "convert", hf, file, "--pre", "gpt-2"], capture_output=True,
                              text=True)
        if done.returncode:
            return False, done.stderr.strip()
        again = Model(file, long_context="longrope" in name).logits(tokens)
        ours = [brisk_logits(folder, m, tokens)[0] for m in (file, hf)]
    same = (ours[0].view(np.uint32) == ours[1].view(np.uint32)).all()
    converted, loaded = far(again, true), far(ours[0], true)
    good = converted <= CONVERTED and loaded <= LOADED and same
    return good, (f"forward.py {converted:.1e}, brisk {loaded:.1e}"
                  + ("" if same else ", folder and file differ"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="*")
    options = parser.parse_args()
    failed = 0
    for name, (kind, config) in CASES.items():
        if not fnmatch.fnmatchcase(name, options.only):
            continue
        good, text = check(name, kind, config)
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name:24} {text}", flush=True)
    print(f"compare_hf: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
