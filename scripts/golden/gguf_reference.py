"""A GGUF of arch `llama` as a transformers LlamaForCausalLM in fp32, and its prompts as tokens.

Dequantised with the `gguf` package, q/k rows put back into Hugging Face order. Used live by
tests/interop and scripts/bench: nothing of a real model is ever written into the tree.
"""

from __future__ import annotations

import gguf
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models

import tiny_model

IM_START, IM_END = 1, 2


class Gguf:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)

    def field(self, key, default=None):
        found = self.reader.fields.get(key)
        return default if found is None else found.contents()

    def config(self):
        def of(key):
            return self.field("llama." + key)

        heads = of("attention.head_count")
        return transformers.LlamaConfig(
            vocab_size=len(self.field("tokenizer.ggml.tokens")),
            hidden_size=of("embedding_length"),
            intermediate_size=of("feed_forward_length"),
            num_hidden_layers=of("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=of("attention.head_count_kv"),
            head_dim=of("embedding_length") // heads,
            max_position_embeddings=of("context_length"),
            rms_norm_eps=of("attention.layer_norm_rms_epsilon"),
            rope_parameters={"rope_type": "default", "rope_theta": of("rope.freq_base")},
            tie_word_embeddings=all(t.name != "output.weight" for t in self.reader.tensors),
            bos_token_id=self.field("tokenizer.ggml.bos_token_id"),
            eos_token_id=self.field("tokenizer.ggml.eos_token_id"),
            pad_token_id=self.field("tokenizer.ggml.padding_token_id"),
        )

    def weights(self):
        """Hugging Face name -> fp32 numpy array."""
        stored = {t.name: t for t in self.reader.tensors}
        config = self.config()
        modules = {v: k for k, v in tiny_model.GGUF_NAMES.items()}
        made = {}
        for name, tensor in stored.items():
            if name.startswith("blk."):
                _, layer, module, _ = name.split(".")
                hf_name = f"model.layers.{layer}.{modules[module]}.weight"
            else:
                hf_name = {
                    "token_embd.weight": "model.embed_tokens.weight",
                    "output_norm.weight": "model.norm.weight",
                    "output.weight": "lm_head.weight",
                }[name]
            value = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            value = value.reshape(tuple(int(n) for n in tensor.shape[::-1]))
            if ".attn_q." in name:
                value = tiny_model.unpermute(value, config.num_attention_heads)
            elif ".attn_k." in name:
                value = tiny_model.unpermute(value, config.num_key_value_heads)
            made[hf_name] = np.array(value, dtype=np.float32, order="C")
        return made

    def model(self, dtype=torch.float32, attention="eager"):
        """The frozen LlamaForCausalLM."""
        config = self.config()
        config._attn_implementation = attention
        model = transformers.LlamaForCausalLM(config)
        weights = {k: torch.from_numpy(v) for k, v in self.weights().items()}
        missing, unexpected = model.load_state_dict(weights, strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"missing {missing}, unexpected {unexpected}")
        model.tie_weights()
        return model.to(dtype).eval().requires_grad_(False)

    def tokenizer(self):
        """Text to ids. It has no added tokens: special-token text stays text."""
        tokens = self.field("tokenizer.ggml.tokens")
        merges = [tuple(m.split(" ")) for m in self.field("tokenizer.ggml.merges")]
        made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
        made.pre_tokenizer = tiny_model.smollm_pre_tokenizer()
        return made


def chat_ids(tokenizer, turns, answer):
    """ChatML ids of [(role, content)] and an assistant's answer, ended by its end-of-turn token.

    Control tokens only where ChatML has them; each stretch of text between is encoded whole.
    Returns the ids and the place of the first one whose text lies in the answer.
    """
    ids = []
    for role, content in turns:
        ids += [IM_START, *tokenizer.encode(f"{role}\n{content}", add_special_tokens=False).ids]
        ids += [IM_END, *tokenizer.encode("\n", add_special_tokens=False).ids]
    header = "assistant\n"
    encoded = tokenizer.encode(header + answer, add_special_tokens=False)
    before = sum(1 for _, end in encoded.offsets if end <= len(header))
    return [*ids, IM_START, *encoded.ids, IM_END], len(ids) + 1 + before


def trie(sequences):
    """The token trie of [(tokens, first_label, weight, extra)] as tree JSON.

    tokens: the whole sequence with the end-of-turn token last, which is only ever a target.
    Labels: targets from position first_label on, each with `weight`.
    """
    nodes, leaves, labels = [], [], []
    inputs = [tuple(tokens[:-1]) for tokens, *_ in sequences]

    def grow(parent, members, depth):
        """Makes the nodes below `parent` for the sequences of `members`, alike up to depth."""
        by_token = {}
        for member in members:
            if len(inputs[member]) > depth:
                by_token.setdefault(inputs[member][depth], []).append(member)
        for group in by_token.values():
            first = inputs[group[0]]
            end = depth + 1
            while all(len(inputs[m]) > end for m in group) and (
                len({inputs[m][end] for m in group}) == 1
            ):
                end += 1
            index = len(nodes)
            nodes.append({"parent": parent, "tokens": list(first[depth:end])})
            for member in group:
                if len(inputs[member]) == end:
                    ends[member] = index
            grow(index, group, end)

    ends = {}
    grow(-1, list(range(len(sequences))), 0)
    first_row = np.cumsum([0] + [len(n["tokens"]) for n in nodes]).tolist()
    for leaf, (tokens, first_label, weight, extra) in enumerate(sequences):
        chain, node = [], ends[leaf]
        while node >= 0:
            chain.append(node)
            node = nodes[node]["parent"]
        rows = []
        for node in reversed(chain):
            rows += range(first_row[node], first_row[node] + len(nodes[node]["tokens"]))
        leaves.append({"node": ends[leaf], **extra})
        for position in range(first_label, len(tokens)):
            labels.append(
                {
                    "row": rows[position - 1], "target": tokens[position], "weight": weight,
                    "leaf": leaf,
                }
            )  # fmt: skip
    labels.sort(key=lambda label: (label["row"], label["leaf"]))
    return {"nodes": nodes, "leaves": leaves, "labels": labels}


def scenario_sequences(tokenizer, scenario, sentences):
    """Sequences of one VCD scenario under the project's recipe: each option under its own value.

    sentences: value -> describing sentence. Weights: mean over all A x B pairs of the sum of both
    sides' mean cross-entropy.
    """
    options = scenario["options"]
    values = list(dict.fromkeys(o["bias"] for o in options))
    count = {v: sum(o["bias"] == v for o in options) for v in values}
    made = []
    for index, option in enumerate(options):
        value = option["bias"]
        user = f"{scenario['scenario']}\n\nAnswer as someone who values '{value}'. {sentences[value]}"
        ids, first_label = chat_ids(tokenizer, [("user", user)], option["text"])
        weight = float(np.float32(1.0 / count[value] / (len(ids) - first_label)))
        extra = {"side": "ab"[values.index(value)], "option": index}
        made.append((ids, first_label, weight, extra))
    return made
