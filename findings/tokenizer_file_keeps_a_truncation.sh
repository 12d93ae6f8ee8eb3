#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3: a call such as tokenizer(texts, truncation=True, max_length=5) sets the length in
# the tokenizer's backend, and save_pretrained writes it to tokenizer.json. transformers sets it again at each call, so it
# never shows there. The library tokenizers obeys the file: it cuts (and pads) every text to the length of the last call
# before the tokenizer was saved. Nothing is said. A corpus read by Tokenizer.from_file is then the first words of each row.
# Seen: 20 words: 20 tokens from the saved folder in transformers, 5 from the same tokenizer.json in tokenizers; 1 word: 5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - 2>/dev/null <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

backend = Tokenizer(models.WordLevel({"<pad>": 0, "word": 1}, unk_token="<pad>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer, text = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>"), "word " * 20
tokenizer.save_pretrained("before")
tokenizer(text, truncation=True, max_length=5, padding="max_length")
tokenizer.save_pretrained("after")
lengths = {}
for folder in ("before", "after"):
    raw = Tokenizer.from_file(f"{folder}/tokenizer.json")
    lengths[folder] = len(AutoTokenizer.from_pretrained(folder)(text).input_ids), len(raw.encode(text).ids), len(raw.encode("word").ids)
print("tokens of 20 words in transformers, in tokenizers, of 1 word in tokenizers:", lengths)
assert lengths["before"] == (20, 20, 1)
assert lengths["after"][0] == 20
assert lengths["after"][1:] == (5, 5), "the file no longer keeps the length of a call: this has been mended"
PY
