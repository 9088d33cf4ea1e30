"""Byte pairs of some texts, and the texts in them, by Hugging Face's tokenizers: test/golden/byte_pairs.json.

The texts are names of emoji in several languages, of emojibase-data (MIT); they are in the file. Run where tokenizers is:
  python3 test/golden/byte_pairs.py
"""
import json, os, re, unicodedata
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

path = os.path.join(os.path.dirname(__file__), "byte_pairs.json")
with open(path) as file:
    texts = json.load(file)["texts"]
WORD = r" ?[\p{L}\p{M}]{1,64}| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]{1,64}"
split = pre_tokenizers.Split(Regex(WORD), "isolated")


def words(text):
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text.lower())).strip()
    return [word for word, _ in split.pre_tokenize_str(" " + text)]


def mapped(word):
    """A character a byte, in the order of bytes: of equally frequent pairs the trainer takes that of the lower tokens."""
    return "".join(chr(0x100 + byte) for byte in word.encode())


tokenizer = Tokenizer(models.BPE())
trainer = trainers.BpeTrainer(
    vocab_size=256 + 700, min_frequency=2, initial_alphabet=[chr(0x100 + byte) for byte in range(256)], show_progress=False
)
tokenizer.train_from_iterator((mapped(word) for text in texts for word in words(text)), trainer)
model = json.loads(tokenizer.to_str())["model"]
token = lambda name: 3 + model["vocab"][name]
pairs = [[token(a), token(b)] for a, b in (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])]
encoded = [[3 + id for word in words(text) for id in tokenizer.encode(mapped(word)).ids] for text in texts[::7]]
with open(path, "w") as file:
    json.dump({"texts": texts, "pairs": pairs, "encoded": encoded}, file, ensure_ascii=False)
    file.write("\n")
