"""What the tokenizer comparisons share: vocabularies in GGUF files, texts through tok_dump."""
import functools
import mmap
import os
import struct
import subprocess

import gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Keys:
    """The metadata of a GGUF file. The gguf package's reader takes seconds for a large vocabulary."""

    def __init__(self, data):
        self.data, self.at = data, 4
        _, _, n = self.take("IQQ")
        self.values = {}
        for _ in range(n):
            name = self.string()
            self.values[name] = self.value(*self.take("I"))

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def string(self):
        n, = self.take("Q")
        self.at += n
        return str(self.data[self.at - n:self.at], "utf-8", "surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind != 9:
            return self.take(SCALARS[kind])[0]
        element, n = self.take("IQ")
        if element == 8:
            return [self.string() for _ in range(n)]
        return list(self.take(f"{n}{SCALARS[element]}"))


@functools.lru_cache(maxsize=8)
def fields(path):
    """tokenizer.ggml.* of a file."""
    prefix = "tokenizer.ggml."
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        read = Keys(data).values
    return {k[len(prefix):]: v for k, v in read.items() if k.startswith(prefix)}


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
