#!/usr/bin/env bash
# gguf 0.19.0 (the writer of llama.cpp's converters): empty strings and empty arrays are dropped.
#
# Expected: a key with an empty value, which the format allows, or an error.
# Seen: the key is missing from the file and nothing is said. A chat template set to "" (no
# template on purpose) and a list of added tokens without entries cannot be told from keys that
# were never set. Zero and false are kept.
# It matters to whoever reads such files: "missing" has to mean "perhaps empty" too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import gguf

writer = gguf.GGUFWriter("a.gguf", "llama")
writer.add_string("tokenizer.chat_template", "")
writer.add_array("tokenizer.ggml.added_tokens", [])
writer.add_uint32("tokenizer.ggml.padding_token_id", 0)
writer.add_bool("tokenizer.ggml.add_bos_token", False)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
keys = [key for key in gguf.GGUFReader("a.gguf").fields if not key.startswith("GGUF.")]
print(keys)
assert keys == [
    "general.architecture",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.add_bos_token",
]
PYTHON
