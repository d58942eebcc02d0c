#!/usr/bin/env bash
# gguf-parser 0.1.1 (PyPI): `load_tensors` gives two bytes of the file's header for a matrix.
#
# Expected: "Load the tensors from the file", so the data of each tensor, from where the format
# puts it: its offset after the end of the aligned header, as long as shape and type say.
# Seen: the offset is taken from the beginning of the file, and the number of bytes read is the
# number of dimensions. The first matrix of every file is b"GG", of "GGUF"; a vector is one byte.
# There is no error, and what `parse` says of names, shapes and types is right. An alignment that
# the file leaves out, as nearly all do, is 1 and not the format's 32.
# It matters to whoever checks or hashes weights with it: two models with the same layout have the
# same "tensors".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    gguf-parser==0.1.1 gguf==0.19.0 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import gguf
import numpy as np
from gguf_parser import GGUFParser


def write(path, scale):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("matrix", np.arange(32, dtype=np.float32).reshape(4, 8) * scale)
    writer.add_tensor("vector", np.arange(16, dtype=np.float32) * scale)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path):
    parser = GGUFParser(path)
    parser.parse()
    return parser, parser.load_tensors()


write("a.gguf", 1.0)
write("b.gguf", -3.0)
parser, a = read("a.gguf")
_, b = read("b.gguf")
peer = {tensor.name: tensor for tensor in gguf.GGUFReader("a.gguf").tensors}
for told, tensor in zip(parser.tensors_info, a):
    name = told["name"]
    where = int(peer[name].data_offset)
    print(f"{name} {told['dimensions']}: {tensor!r}; {peer[name].n_bytes} bytes at {where}")
assert [told["dimensions"] for told in parser.tensors_info] == [(8, 4), (16,)]
assert a == b and a[0] == b"GG" and len(a[1]) == 1
assert [int(tensor.n_bytes) for tensor in peer.values()] == [128, 64]
assert parser.alignment == 1
PYTHON
