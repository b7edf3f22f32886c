"""Golden token ids of the two tiny tokenizers, made with Hugging Face `tokenizers`."""

from __future__ import annotations

import json

import text_samples
import tiny_model

SEED = 41
COUNT = 260


def write_all(root):
    """tokenizer.<model>.jsonl: one {"text", "ids"} a line. Specials are never split out of text."""
    for name, missing in (("tiny", ()), ("tiny-untied", tiny_model.UNTIED_MISSING_BYTES)):
        made, _, _ = tiny_model.tokenizer(missing)
        with open(root / f"tokenizer.{name}.jsonl", "w", encoding="ascii") as out:
            for text in text_samples.samples(SEED, COUNT):
                ids = made.encode(text, add_special_tokens=False).ids
                out.write(json.dumps({"text": text, "ids": ids}, separators=(",", ":")) + "\n")
