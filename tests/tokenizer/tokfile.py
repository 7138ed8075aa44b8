"""What the tokenizer comparisons share: vocabularies in GGUF files, texts through tok_dump."""
import functools
import os
import struct
import subprocess

import gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@functools.lru_cache(maxsize=2)
def fields(path):
    """tokenizer.ggml.* of a file."""
    prefix = "tokenizer.ggml."
    read = gguf.GGUFReader(path).fields
    return {k[len(prefix):]: f.contents() for k, f in read.items() if k.startswith(prefix)}


def write_gguf(path, model, tokens, types, merges=None, scores=None, pre="gpt-2", **flags):
    """flags: other keys under tokenizer.ggml, booleans, numbers or bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    for key, value in flags.items():
        key = "tokenizer.ggml." + key
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def strings(items):
    items = [s if isinstance(s, bytes) else s.encode() for s in items]
    return struct.pack("<I", len(items)) + b"".join(
        struct.pack("<I", len(s)) + s for s in items)


def dump(program, folder, model, lines, mode="ids", pre="-"):
    """Ids of each text; with mode "special", of its special tokens too; "pieces": byte lengths; "text":
    the bytes that the ids are decoded to."""
    path = os.path.join(folder, "texts")
    with open(path, "wb") as f:
        f.write(strings(lines))
    out = subprocess.run([program, model, pre, path, mode], stdout=subprocess.PIPE, check=True,
                         text=True).stdout.split("\n")[:-1]
    assert len(out) == len(lines), (len(out), len(lines))
    if mode == "text":
        return [bytes.fromhex(line) for line in out]
    return [[int(x) for x in line.split()] for line in out]
