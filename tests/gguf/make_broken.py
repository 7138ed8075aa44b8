#!/usr/bin/env python3
"""Writes one broken model file for each way in which a GGUF file can be wrong, and a manifest.

    make_broken.py FOLDER          writes FOLDER/*.gguf and FOLDER/manifest.json

The manifest is a list of {"file", "group", "status", "expect"}: `status` is the exit status that a
program must end with, `expect` a list of texts of which at least one has to stand in its error line.
The first two files are good ones (status 0): they show that the others fail for their own reason.

needs numpy.
"""
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from gguf_write import (ARRAY, BOOL, FLOAT32, FLOAT64, INT16, INT32, INT64, STRING, TYPES, UINT8,
                        UINT32, UINT64, array, entry, scalar, string, tensor_info)
from make_tiny import build

SHAPE = dict(layers=1, embd=64, heads=2, kv_heads=1, ff=96, vocab=300, context=128, types={"*": "F16"})
HUGE = (1 << 64) - 1
CASES = []  # (group, name, expected texts, bytes)


def case(group, name, expect, data):
    CASES.append((group, name, [expect] if isinstance(expect, str) else expect, data))


# ---- Pieces of a good file ----------------------------------------------------------------------

class Parts:
    """A good model taken apart: every field of its header can be replaced before it is put together."""

    def __init__(self, version=3):
        g = build(**SHAPE, version=version)
        self.version = version
        self.entries = {self.name_of(e): e for e in g.entries}
        self.tensors, self.data = {}, b""
        for name, dims, kind, data in g.tensors:
            self.tensors[name] = [name, dims, TYPES[kind][0], len(self.data)]
            self.data += data + bytes(-len(data) % 32)
        self.extra_entries, self.extra_tensors = [], []
        self.n_kv = self.n_tensors = None
        self.alignment = 32

    @staticmethod
    def name_of(raw):
        length = struct.unpack_from("<Q", raw)[0]
        return raw[8:8 + length].decode()

    def key(self, name, kind, value):
        self.entries[name] = entry(name, kind, scalar(kind, value))
        return self

    def keys(self, name, kind, values):
        self.entries[name] = entry(name, ARRAY, array(kind, values))
        return self

    def raw(self, name, kind, payload):
        self.entries[name] = entry(name, kind, payload)
        return self

    def drop(self, *names):
        for name in names:
            self.entries.pop(name, None)
            self.tensors.pop(name, None)
        return self

    def tensor(self, name, dims=None, kind=None, offset=None):
        """Changes what the header says about a tensor, not its data."""
        t = self.tensors[name]
        t[1:] = [t[1] if dims is None else dims, t[2] if kind is None else kind,
                 t[3] if offset is None else offset]
        return self

    def head(self):
        entries = [*self.entries.values(), *self.extra_entries]
        infos = [tensor_info(*t) for t in self.tensors.values()] + self.extra_tensors
        n_kv = len(entries) if self.n_kv is None else self.n_kv
        n_tensors = len(infos) if self.n_tensors is None else self.n_tensors
        raw = b"GGUF" + struct.pack("<IQQ", self.version, n_tensors, n_kv)
        return raw, b"".join(entries), b"".join(infos)

    def bytes(self):
        head = b"".join(self.head())
        return head + bytes(-len(head) % self.alignment) + self.data


def parts():
    return Parts()


def with_fields(**fields):
    p = Parts()
    for name, value in fields.items():
        setattr(p, name, value)
    return p.bytes()


# ---- The container ------------------------------------------------------------------------------

def not_gguf():
    good = parts().bytes()
    case("magic", "empty", "empty", b"")
    case("magic", "four_bytes", "not a GGUF file", b"\0\0\0\0")
    case("magic", "magic_only", "header", b"GGUF")
    case("magic", "text", "not a GGUF file", b"hello, this is no model\n" * 10)
    case("magic", "web_page", "web page", b"<!DOCTYPE html><html>404</html>")
    case("magic", "lfs_pointer", "git lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    case("magic", "zip", "zip", b"PK\3\4" + bytes(100))
    case("magic", "zeros", "not a GGUF file", bytes(100000))
    case("magic", "one_byte_wrong", "not a GGUF file", b"GGVF" + good[4:])
    for version in (0, 1, 4, 99):
        case("version", f"version_{version}", f"version {version}", with_fields(version=version))
    case("version", "big_endian", "big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(100))


def cut():
    """A file that ends too early, wherever."""
    p = parts()
    raw, entries, infos = p.head()
    good = p.bytes()
    start = len(raw)
    tokens = good.index(b"tokenizer.ggml.tokens")
    for name, at, expect in [
            ("in_header", 12, "header"),
            ("after_header", start, ["keys", "tensors"]),
            ("in_first_key", start + 20, ["keys", "tensors", "key 0"]),
            ("in_tokens", tokens + 500, "tokenizer.ggml.tokens"),
            ("in_tensor_names", start + len(entries) + 5, "tensor"),
            ("in_last_tensor", start + len(entries) + len(infos) - 3, "output.weight"),
            ("before_data", start + len(entries) + len(infos), "token_embd.weight"),
            ("in_data", len(good) - 20000, "output.weight"),
            ("last_byte", len(good) - 1, "output.weight")]:
        case("cut", "cut_" + name, expect, good[:at])


def counts():
    for n in (HUGE, 1 << 61, 1 << 32, 65000):
        case("counts", f"n_kv_{n:x}", "keys", with_fields(n_kv=n))
    for n in (HUGE, 1 << 61, 1 << 33, 1 << 20):
        case("counts", f"n_tensors_{n:x}", "tensors", with_fields(n_tensors=n))
    one_more = len(parts().entries) + 1
    case("counts", "one_key_too_many", ["key", "tensor"], with_fields(n_kv=one_more))
    few = Parts()
    few.n_kv = len(few.entries) - 1
    case("counts", "one_key_too_few", "tensor", few.bytes())


def names():
    def extra(payload):
        return with_fields(extra_entries=[payload])
    case("names", "key_length_huge", "key", extra(struct.pack("<Q", HUGE) + b"k" * 20))
    case("names", "key_length_wraps", "key", extra(struct.pack("<Q", HUGE - 200) + b"k" * 20))
    case("names", "key_long", "key", extra(entry("k" * 70000, UINT8, b"\1")))
    case("names", "key_empty", "key", extra(entry("", UINT8, b"\1")))
    case("names", "key_twice", "llama.block_count",
         extra(entry("llama.block_count", UINT32, struct.pack("<I", 1))))
    p = parts()
    p.extra_tensors = [tensor_info("output.weight", [8], 0, 0)]
    case("names", "tensor_twice", "output.weight", p.bytes())
    p = parts()
    p.extra_tensors = [struct.pack("<Q", HUGE) + bytes(40)]
    case("names", "tensor_name_huge", "tensor", p.bytes())
    p = parts()
    p.extra_tensors = [tensor_info("", [8], 0, 0)]
    case("names", "tensor_name_empty", "tensor", p.bytes())
    p = parts()
    p.extra_tensors = [tensor_info("\x1b]0;owned\x07\x1b[2J", [8], 40, 0)]
    case("names", "control_bytes", "\\x1b]0;owned\\x07", p.bytes())
    p = parts()
    p.extra_tensors = [tensor_info("\x01" * 1000, [8], 40, 0)]
    case("names", "control_bytes_long", "NVFP4", p.bytes())


def values():
    def one(name, expect, kind, payload):
        p = parts()
        p.extra_entries = [entry("x.value", kind, payload)]
        case("values", name, expect, p.bytes())
    q = struct.pack
    one("type_undefined", "x.value", 13, bytes(8))
    one("type_huge", "x.value", 0xFFFFFFFF, bytes(8))
    one("string_huge", "x.value", STRING, q("<Q", HUGE))
    one("string_past_end", "x.value", STRING, q("<Q", 1 << 23))
    one("string_over_limit", "x.value", STRING, q("<Q", (1 << 24) + 1))
    one("array_of_undefined", "x.value", ARRAY, q("<IQ", 13, 1 << 60))
    one("array_of_arrays", "x.value", ARRAY, q("<IQ", ARRAY, 1) + array(UINT8, [1]))
    one("array_nested_deep", "x.value", ARRAY, q("<IQ", ARRAY, 1) * 100000)
    one("array_huge", "x.value", ARRAY, q("<IQ", UINT8, HUGE))
    one("array_wraps", "x.value", ARRAY, q("<IQ", UINT64, 1 << 61))
    one("array_past_end", "x.value", ARRAY, q("<IQ", UINT32, 1 << 25))
    one("array_of_strings_past_end", "x.value", ARRAY, q("<IQ", STRING, 1 << 25))
    one("array_string_huge", "x.value", ARRAY, q("<IQ", STRING, 2) + string("a") + q("<Q", HUGE - 7))
    one("bool_two", "x.value", BOOL, b"\2")
    for value in (0, 1, 7, 48, 1 << 17, 1 << 31):
        case("alignment", f"alignment_{value}", "general.alignment",
             parts().key("general.alignment", UINT32, value).bytes())
    case("alignment", "alignment_int32", "general.alignment",
         parts().key("general.alignment", INT32, 32).bytes())
    case("alignment", "alignment_string", "general.alignment",
         parts().key("general.alignment", STRING, "32").bytes())
    case("alignment", "alignment_moves_data", ["token_embd.weight", "offset", "data"],
         parts().key("general.alignment", UINT32, 65536).bytes())


def extents():
    w = "blk.0.ffn_up.weight"

    def one(name, expect=w, **change):
        case("extents", name, expect, parts().tensor(w, **change).bytes())
    one("no_dims", dims=[])
    one("five_dims", dims=[64, 96, 1, 1, 1])
    one("dim_zero", dims=[64, 0])
    one("dim_zero_first", dims=[0, 96])
    one("dim_all_ones", dims=[HUGE, 1])
    one("dim_wraps", dims=[(1 << 42) + 1, 1 << 42])
    one("dim_wraps_to_zero", dims=[1 << 32, 1 << 32])
    one("size_wraps", dims=[1 << 62])
    one("size_signed", dims=[1 << 61, 4])
    one("size_past_end", dims=[64, 96000])
    one("type_undefined", kind=4000)
    one("type_withdrawn", kind=4)
    one("type_unsupported", expect=["NVFP4"], kind=40)
    one("type_negative", kind=0xFFFFFFFF)
    one("row_not_in_blocks", dims=[96, 64], kind=TYPES["Q4_K"][0])
    one("offset_unaligned", offset=33)
    one("offset_past_end", offset=1 << 40)
    one("offset_wraps", offset=HUGE - 31)
    one("offset_signed", offset=1 << 63)
    one("overlap", expect=["overlap"], offset=0)
    p = parts()
    p.extra_tensors = [tensor_info("again", [8], 0, 32)]
    case("extents", "overlap_inside", "overlap", p.bytes())


# ---- The model ----------------------------------------------------------------------------------

def number_keys():
    """Every number that the architecture needs: absent, of a wrong type, out of range, not matching."""
    llama = "llama."
    needed = ["block_count", "context_length", "embedding_length", "feed_forward_length",
              "attention.head_count", "attention.layer_norm_rms_epsilon"]
    for key in needed:
        case("numbers", f"{key}_absent", llama + key, parts().drop(llama + key).bytes())
        case("numbers", f"{key}_string", llama + key, parts().key(llama + key, STRING, "8").bytes())
        case("numbers", f"{key}_array", llama + key, parts().keys(llama + key, STRING, ["8"]).bytes())
    whole = [k for k in needed if "epsilon" not in k] + ["attention.head_count_kv"]
    for key in whole:
        case("numbers", f"{key}_zero", llama + key, parts().key(llama + key, UINT32, 0).bytes())
        case("numbers", f"{key}_negative", llama + key, parts().key(llama + key, INT32, -1).bytes())
        case("numbers", f"{key}_2^63", llama + key, parts().key(llama + key, UINT64, 1 << 63).bytes())
        case("numbers", f"{key}_float", llama + key, parts().key(llama + key, FLOAT32, 8.0).bytes())
        case("numbers", f"{key}_int64", llama + key, parts().key(llama + key, INT64, -(1 << 62)).bytes())
    real = {"attention.layer_norm_rms_epsilon": (float("nan"), float("inf"), -1.0),
            "rope.freq_base": (float("nan"), float("inf"), 0.0, -5.0)}
    for key, bad in real.items():
        for value in bad:
            case("numbers", f"{key}_{value}", llama + key, parts().key(llama + key, FLOAT32, value).bytes())
        case("numbers", f"{key}_double_nan", llama + key,
             parts().key(llama + key, FLOAT64, float("nan")).bytes())
        case("numbers", f"{key}_int", llama + key, parts().key(llama + key, INT16, 1).bytes())
    arch = "general.architecture"
    case("numbers", "architecture_absent", arch, parts().drop(arch).bytes())
    case("numbers", "architecture_number", arch, parts().key(arch, UINT32, 1).bytes())
    case("numbers", "architecture_unknown", "no-such-thing", parts().key(arch, STRING, "no-such-thing").bytes())
    case("numbers", "architecture_control", "\\x1b[31m", parts().key(arch, STRING, "\x1b[31mx\n").bytes())


def cross_checks():
    def llama(name, expect, **keys):
        p = parts()
        for key, value in keys.items():
            p.key("llama." + key.replace("__", "."), UINT32, value)
        case("cross", name, expect, p.bytes())
    llama("layers_more_than_tensors", ["blk.1.", "block_count"], block_count=2)
    llama("layers_beyond_any_table", "block_count", block_count=1 << 30)
    llama("embedding_other", ["embedding_length", "token_embd.weight", "head_count"],
          embedding_length=128)
    llama("embedding_huge", ["embedding_length", "token_embd.weight"], embedding_length=1 << 31)
    llama("feed_forward_other", ["feed_forward_length", "blk.0.ffn_"], feed_forward_length=97)
    llama("heads_other", ["head_count", "blk.0.attn_", "rope.dimension_count"], attention__head_count=4)
    llama("heads_do_not_divide", ["head_count", "blk.0.attn_"], attention__head_count=3)
    llama("kv_heads_more", "head_count_kv", attention__head_count_kv=4)
    llama("kv_heads_other", ["head_count_kv", "blk.0.attn_"], attention__head_count_kv=2)
    llama("kv_heads_do_not_divide", ["head_count_kv", "blk.0.attn_"], attention__head_count=8,
          attention__head_count_kv=3)
    llama("head_size_zero", ["key_length"], attention__key_length=0)
    llama("head_size_other", ["key_length", "blk.0.attn_"], attention__key_length=48,
          attention__value_length=48)
    llama("head_size_k_not_v", ["key_length", "value_length", "blk.0.attn_"], attention__value_length=16)
    llama("rope_more_than_head", "rope.dimension_count", rope__dimension_count=64)
    llama("rope_odd", "rope.dimension_count", rope__dimension_count=31)
    llama("vocab_size_other", ["vocab_size", "tokens", "token_embd.weight"], vocab_size=301)
    case("cross", "rope_scaling_unknown", "rope.scaling.type",
         parts().key("llama.rope.scaling.type", STRING, "sideways").bytes())


def tensors():
    for name in parts().tensors:
        if name == "output.weight":  # without it the embedding serves as the head
            continue
        case("tensors", name + "_absent", name, parts().drop(name).bytes())
    for name in ("token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight",
                 "blk.0.attn_output.weight", "blk.0.ffn_down.weight"):
        dims = parts().tensors[name][1]
        case("tensors", name + "_fewer_rows", name, parts().tensor(name, dims=[dims[0], dims[1] - 1]).bytes())
        case("tensors", name + "_one_dim", name, parts().tensor(name, dims=[dims[0] * dims[1]]).bytes())
        case("tensors", name + "_three_dims", name,
             parts().tensor(name, dims=[dims[0], dims[1] // 2, 2]).bytes())
    swapped = ["blk.0.attn_k.weight", "blk.0.ffn_down.weight"]
    for name in swapped:
        case("tensors", name + "_swapped", name,
             parts().tensor(name, dims=parts().tensors[name][1][::-1]).bytes())
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        case("tensors", name + "_short", name, parts().tensor(name, dims=[63]).bytes())
        case("tensors", name + "_blocks", name, parts().tensor(name, kind=TYPES["Q8_0"][0]).bytes())


def tokenizer():
    t = "tokenizer.ggml."
    n = SHAPE["vocab"]
    good_types = [3] * 3 + [1] * (n - 3)

    def one(name, expect, change):
        p = parts()
        change(p)
        case("tokenizer", name, expect, p.bytes())
    for key in ("model", "tokens", "merges"):
        one(key + "_absent", t + key, lambda p, key=key: p.drop(t + key))
        one(key + "_number", t + key, lambda p, key=key: p.key(t + key, UINT32, 1))
    one("model_unknown", [t + "model", "abacus"], lambda p: p.key(t + "model", STRING, "abacus"))
    one("tokens_none", ["tokens", "token_embd.weight"], lambda p: p.keys(t + "tokens", STRING, []))
    one("tokens_fewer", ["tokens", "token_embd.weight"],
        lambda p: p.keys(t + "tokens", STRING, ["a", "b", "c"]))
    one("tokens_bytes", t + "tokens", lambda p: p.keys(t + "tokens", UINT8, [1] * n))
    one("token_type_short", "token_type", lambda p: p.keys(t + "token_type", INT32, good_types[:-1]))
    one("token_type_long", "token_type", lambda p: p.keys(t + "token_type", INT32, good_types + [1]))
    one("token_type_none", "token_type", lambda p: p.keys(t + "token_type", INT32, []))
    one("token_type_bools", "token_type", lambda p: p.keys(t + "token_type", BOOL, [1] * n))
    one("token_type_strings", "token_type", lambda p: p.keys(t + "token_type", STRING, ["1"] * n))
    one("token_type_floats", "token_type", lambda p: p.keys(t + "token_type", FLOAT32, [1.0] * n))
    one("token_type_scalar", "token_type", lambda p: p.key(t + "token_type", INT32, 1))
    one("merges_numbers", t + "merges", lambda p: p.keys(t + "merges", INT32, [1, 2, 3]))
    one("merge_without_space", ["merge"], lambda p: p.keys(t + "merges", STRING, ["th"]))
    for key in ("bos_token_id", "eos_token_id"):
        one(f"{key}_first_too_large", key, lambda p, key=key: p.key(t + key, UINT32, n))
        one(f"{key}_huge", key, lambda p, key=key: p.key(t + key, UINT32, 0xFFFFFFF0))
        one(f"{key}_2^32", key, lambda p, key=key: p.key(t + key, UINT64, (1 << 32) + 1))
        one(f"{key}_negative", key, lambda p, key=key: p.key(t + key, INT32, -2))
        one(f"{key}_string", key, lambda p, key=key: p.key(t + key, STRING, "1"))
    one("add_bos_number", "add_bos_token", lambda p: p.key(t + "add_bos_token", UINT32, 1))


def weights():
    """Weights may be any bits: such a file loads, and only what it computes is refused."""
    for kind, size in (("Q5_1", 24), ("IQ4_NL", 18)):
        g = build(**{**SHAPE, "types": {"*": kind}})
        for i, (name, dims, of, data) in enumerate(g.tensors):
            if of == kind:  # the scale of each block, the first two bytes: a NaN
                blocks = [b"\0\x7e" + data[at + 2:at + size] for at in range(0, len(data), size)]
                g.tensors[i] = (name, dims, of, b"".join(blocks))
        case("weights", f"nan_scales_{kind}", "no usable logits", g.bytes())


def write(folder):
    for group in (not_gguf, cut, counts, names, values, extents, number_keys, cross_checks, tensors,
                  tokenizer, weights):
        group()
    os.makedirs(folder, exist_ok=True)
    manifest = [{"file": f"good_v{v}.gguf", "group": "good", "status": 0, "expect": []} for v in (2, 3)]
    for v in (2, 3):
        with open(os.path.join(folder, f"good_v{v}.gguf"), "wb") as f:
            f.write(Parts(v).bytes())
    for group, name, expect, data in CASES:
        file = f"{group}-{name}.gguf".replace("^", "")
        manifest.append({"file": file, "group": group, "status": 1, "expect": expect})
        with open(os.path.join(folder, file), "wb") as f:
            f.write(data)
    if len({m["file"] for m in manifest}) != len(manifest):
        raise ValueError("two cases have the same name")
    with open(os.path.join(folder, "manifest.json"), "w") as f:
        json.dump(manifest, f, indent=1)
    return manifest


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    print(f"{len(write(sys.argv[1]))} files in {sys.argv[1]}")


if __name__ == "__main__":
    main()
