"""Small Hugging Face folders with random weights, for tests: config.json, tokenizer.json as the
library `tokenizers` writes it (trained on tests/data/prose.txt), safetensors as that package does.

    folder = Folder("llama", head_dim=16)
    folder.write(path, dtype="BF16", shards=3)

Weights are kept as float64 arrays under their Hugging Face names, already rounded to the type that
they are stored in. needs numpy, safetensors and tokenizers.
"""
import json
import os

import numpy as np
import safetensors
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

HERE = os.path.dirname(os.path.abspath(__file__))
PROSE = os.path.join(HERE, "..", "data", "prose.txt")

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CHAT = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


# ---- Numbers --------------------------------------------------------------------------------------

def bf16_bits(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def encode(values, dtype):
    """(an array with the bytes, the values that they stand for as float64)."""
    if dtype == "BF16":
        bits = bf16_bits(values)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    stored = np.asarray(values).astype({"F32": np.float32, "F16": np.float16}[dtype])
    return stored, stored.astype(np.float64)


def save(path, arrays, dtype, metadata=None):
    """Arrays from encode() as a safetensors file."""
    name = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype]
    specs = {n: safetensors.TensorSpec(dtype=name, shape=list(a.shape), data_ptr=a.ctypes.data,
                                       data_len=a.nbytes) for n, a in arrays.items()}
    safetensors.serialize_file(specs, path, metadata)


# ---- Tokenizers -----------------------------------------------------------------------------------

def byte_level(pre, nfc=False, bos=None, size=400, ignore_merges=False):
    """GPT-2's kind with a pre-tokenizer: None for its own, "digits", or an expression."""
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if nfc:
        t.normalizer = normalizers.NFC()
    if pre is None:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif pre == "digits":
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True),
             pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pre), "isolated"),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t.train([PROSE], trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    t.add_tokens([AddedToken("<tool>", special=False), AddedToken("  ", special=False)])
    if bos:
        t.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False),
             processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                                           special_tokens=[(bos, t.token_to_id(bos))])])
    else:
        t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


def sentencepiece(size=500, prepend=True):
    """Llama 2's kind: BPE over characters with a token for each byte."""
    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    steps = [normalizers.Prepend("▁")] if prepend else []
    t.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if prepend else []))
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train([PROSE], trainers.BpeTrainer(vocab_size=size, special_tokens=special,
                                         show_progress=False))
    # The bytes are no special tokens: only the trainer takes them so.
    saved = json.loads(t.to_str())
    saved["added_tokens"] = [a for a in saved["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(saved))
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def unigram(size=300):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train([PROSE], trainers.UnigramTrainer(vocab_size=size, unk_token="<unk>", show_progress=False,
                                             special_tokens=["<unk>", "<s>", "</s>"]))
    return t


# ---- Architectures --------------------------------------------------------------------------------

CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM",
           "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM",
           "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
           "phi3": "Phi3ForCausalLM"}
BASE = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
            num_hidden_layers=2, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0,
            hidden_act="silu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
MORE = {
    "llama": dict(attention_bias=False),
    "mistral": dict(head_dim=16, sliding_window=None),
    "mixtral": dict(num_local_experts=4, num_experts_per_tok=2, rope_theta=1e6),
    "qwen2": dict(rope_theta=1e6, tie_word_embeddings=True),
    "qwen3": dict(head_dim=32, rope_theta=1e6, tie_word_embeddings=True),
    "qwen3_moe": dict(head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48,
                      norm_topk_prob=True),
    "gemma2": dict(head_dim=32, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
                   attn_logit_softcapping=50.0, final_logit_softcapping=30.0, sliding_window=64),
    "gemma3_text": dict(head_dim=32, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
                        rope_theta=1e6, rope_local_base_freq=10000.0, sliding_window=64),
    "phi3": dict(sliding_window=300, original_max_position_embeddings=256, rope_scaling=None),
}


def experts(model, c, i, ff):
    name = f"model.layers.{i}."
    if model == "mixtral":
        name += "block_sparse_moe."
        parts = ("w1", "w3", "w2")
    else:
        name += "mlp."
        parts = ("gate_proj", "up_proj", "down_proj")
    n = c.get("num_local_experts") or c["num_experts"]
    yield name + "gate.weight", (n, c["hidden_size"])
    for e in range(n):
        for part, shape in zip(parts, ((ff, c["hidden_size"]), (ff, c["hidden_size"]),
                                       (c["hidden_size"], ff))):
            yield f"{name}experts.{e}.{part}.weight", shape


def shapes(model, c, vocab):
    """(name, shape) as PyTorch has it: rows first."""
    embd, heads, kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    head = c.get("head_dim") or embd // heads
    ff = c["intermediate_size"]
    yield "model.embed_tokens.weight", (vocab, embd)
    for i in range(c["num_hidden_layers"]):
        n = f"model.layers.{i}."
        yield n + "input_layernorm.weight", (embd,)
        if model == "phi3":
            yield n + "self_attn.qkv_proj.weight", ((heads + 2 * kv) * head, embd)
            yield n + "mlp.gate_up_proj.weight", (2 * ff, embd)
            yield n + "mlp.down_proj.weight", (embd, ff)
        else:
            for part, rows in (("q", heads * head), ("k", kv * head), ("v", kv * head)):
                yield f"{n}self_attn.{part}_proj.weight", (rows, embd)
                if model == "qwen2" or c.get("attention_bias"):
                    yield f"{n}self_attn.{part}_proj.bias", (rows,)
            if model in ("qwen3", "qwen3_moe", "gemma3_text"):
                yield n + "self_attn.q_norm.weight", (head,)
                yield n + "self_attn.k_norm.weight", (head,)
        yield n + "self_attn.o_proj.weight", (embd, heads * head)
        yield n + "post_attention_layernorm.weight", (embd,)
        if model in ("gemma2", "gemma3_text"):
            yield n + "pre_feedforward_layernorm.weight", (embd,)
            yield n + "post_feedforward_layernorm.weight", (embd,)
        if model in ("mixtral", "qwen3_moe"):
            yield from experts(model, c, i, c.get("moe_intermediate_size") or ff)
        elif model != "phi3":
            yield n + "mlp.gate_proj.weight", (ff, embd)
            yield n + "mlp.up_proj.weight", (ff, embd)
            yield n + "mlp.down_proj.weight", (embd, ff)
    yield "model.norm.weight", (embd,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (vocab, embd)


class Folder:
    def __init__(self, model, tokenizer=None, seed=1, pad_vocab=0, **config):
        self.config = {"architectures": [CLASSES[model]], "model_type": model, **BASE, **MORE[model],
                       **config}
        self.tokenizer = tokenizer or byte_level("digits")
        self.vocab = self.tokenizer.get_vocab_size() + pad_vocab
        self.config["vocab_size"] = self.vocab
        self.tokenizer_config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
                                 "chat_template": CHAT}
        self.files = {}  # name -> text, beside those that every folder has
        rng = np.random.Generator(np.random.PCG64(seed))
        self.weights = {}
        for name, shape in shapes(model, self.config, self.vocab):
            if len(shape) == 1:
                mean = 0.0 if "gemma" in model or name.endswith("bias") else 1.0
                self.weights[name] = mean + 0.1 * rng.standard_normal(shape)
            else:
                self.weights[name] = 1.5 / shape[1] ** 0.5 * rng.standard_normal(shape)

    def write(self, path, dtype="F32", shards=1):
        """Rounds self.weights to the type, too."""
        os.makedirs(path, exist_ok=True)
        arrays = {}
        for name, values in self.weights.items():
            arrays[name], self.weights[name] = encode(values, dtype)
        if shards == 1:
            save(os.path.join(path, "model.safetensors"), arrays, dtype, {"format": "pt"})
        else:
            self.write_shards(path, arrays, dtype, shards)
        self.tokenizer.save(os.path.join(path, "tokenizer.json"))
        for name, value in (("config.json", self.config),
                            ("tokenizer_config.json", self.tokenizer_config)):
            self.put(path, name, json.dumps(value))
        for name, text in self.files.items():
            self.put(path, name, text)
        return path

    @staticmethod
    def put(path, name, text):
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            f.write(text)

    def write_shards(self, path, arrays, dtype, shards):
        names, where = list(arrays), {}
        for i in range(shards):
            part = {n: arrays[n] for n in names[i::shards]}
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            save(os.path.join(path, file), part, dtype)
            where.update(dict.fromkeys(part, file))
        self.put(path, "model.safetensors.index.json", json.dumps({"weight_map": where}))
