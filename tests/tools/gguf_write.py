"""A small GGUF writer for tests: exact bytes, nothing clever, so that files can also be made wrong.

    g = Gguf(version=3)
    g.key("general.architecture", STRING, "llama")
    g.tensor("output_norm.weight", [64], F32, data)      # fastest dimension first
    open(path, "wb").write(g.bytes())
"""
import struct

# Value types.
UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
FORMATS = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i", FLOAT32: "f",
           BOOL: "B", UINT64: "Q", INT64: "q", FLOAT64: "d"}

# Tensor types: number, weights per block, bytes per block.
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
         "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84),
         "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74),
         "IQ3_XXS": (18, 256, 98), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110),
         "IQ2_S": (22, 256, 82), "IQ4_XS": (23, 256, 136), "BF16": (30, 1, 2), "IQ1_S": (19, 256, 50),
         "IQ1_M": (29, 256, 56), "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66),
         "MXFP4": (39, 32, 17)}


def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    return string(value) if kind == STRING else struct.pack("<" + FORMATS[kind], value)


def array(kind, values):
    """An array value: element type, count, elements. An array's own number stands before it."""
    return struct.pack("<IQ", kind, len(values)) + b"".join(scalar(kind, v) for v in values)


def entry(name, kind, payload):
    """A key with any type number and any bytes as its value."""
    return string(name) + struct.pack("<I", kind) + payload


def tensor_info(name, dims, kind, offset):
    return (string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
            + struct.pack("<IQ", kind, offset))


def size_of(dims, kind):
    _, block, size = TYPES[kind]
    count = 1
    for d in dims:
        count *= d
    return count // block * size


class Gguf:
    def __init__(self, version=3, alignment=32):
        self.version, self.alignment = version, alignment
        self.entries, self.tensors = [], []

    def key(self, name, kind, value):
        self.entries.append(entry(name, kind, scalar(kind, value)))

    def keys(self, name, kind, values):
        self.entries.append(entry(name, ARRAY, array(kind, values)))

    def tensor(self, name, dims, kind, data):
        if len(data) != size_of(dims, kind):
            raise ValueError(f"{name}: {len(data)} bytes for {dims} of {kind}")
        self.tensors.append((name, list(dims), kind, bytes(data)))

    def bytes(self):
        offset, infos, blobs = 0, [], []
        for name, dims, kind, data in self.tensors:
            infos.append(tensor_info(name, dims, TYPES[kind][0], offset))
            blobs.append(data + bytes(-len(data) % self.alignment))
            offset += len(blobs[-1])
        head = b"GGUF" + struct.pack("<IQQ", self.version, len(infos), len(self.entries))
        head += b"".join(self.entries) + b"".join(infos)
        return head + bytes(-len(head) % self.alignment) + b"".join(blobs)
