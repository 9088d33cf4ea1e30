"""Rows of tokens by Hugging Face's tokenizers, of the files and texts that are in test/golden/hugging_face.json. Run where tokenizers is:

    bun test/golden/hugging_face.ts && python3 test/golden/hugging_face.py
"""
import json, os
from tokenizers import Tokenizer

path = os.path.join(os.path.dirname(__file__), "hugging_face.json")
with open(path) as file:
    golden = json.load(file)
for kind, content in golden["files"].items():
    tokenizer = Tokenizer.from_str(json.dumps(content))
    golden["rows"][kind] = [tokenizer.encode(text).ids for text in golden["texts"]]
    golden.setdefault("decoded", {})[kind] = [tokenizer.decode(row) for row in golden["rows"][kind]]
with open(path, "w") as file:
    json.dump(golden, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
