"""The tiny random Llama of the goldens: weights, tokenizer, and every file variant of it.

Writes Hugging Face folders (F32, F16, BF16, sharded, and an untied one with another tokenizer) and
GGUF files (F32, F16, BF16, Q8_0, Q4_0, Q4_1) with q/k rows permuted as llama.cpp stores them.
"""

from __future__ import annotations

import hashlib
import json
import pathlib

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB = 320
# Bytes a real vocabulary lacks because no training text had them: they encode to no token at all.
UNTIED_MISSING_BYTES = [0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)]

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCAB,
}

# What the merges are learnt from: any text does, this one was written for the purpose.
CORPUS = """\
The two of them had run the small shop on the corner for eleven years. One wanted to buy the empty
rooms next door and sell bread there; the other wanted to pay back the bank first. They talked about
it in the kitchen, on the way to the market, and once in the middle of the night. What would you do?
There is a train at 7 and another at 19. The first one is cheaper, the second one is quiet. Answer
as someone who values the long view. I think that we should wait, and then go there with the others.
She said: "I'll take the offer, if they're ready to put it in writing." He didn't. We've seen that
the answer to this is not the same for everyone, and that is the point of asking it in the first
place.
"""


def config_json(tied):
    """config.json as a mapping: the tied one in transformers 4's words, the untied one in 5's."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "tie_word_embeddings": tied,
        **SHAPE,
    }
    if tied:
        config |= {"rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": "float32"}
    else:
        rope = {"rope_type": "default", "rope_theta": 100000.0}
        config |= {"rope_parameters": rope, "dtype": "float32"}
    return config


def weights(seed, tied):
    """Random weights under their Hugging Face names: wide enough that attention is not flat."""
    rng = np.random.default_rng(seed)
    hidden, ff = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    q = SHAPE["num_attention_heads"] * SHAPE["head_dim"]
    kv = SHAPE["num_key_value_heads"] * SHAPE["head_dim"]

    def matrix(rows, cols, gain=1.0):
        return (rng.standard_normal((rows, cols)) * gain / np.sqrt(cols)).astype(np.float32)

    def norm():
        return (1.0 + 0.25 * rng.standard_normal(hidden)).astype(np.float32)

    w = {"model.embed_tokens.weight": matrix(VOCAB, hidden, 1.5)}
    for n in range(SHAPE["num_hidden_layers"]):
        p = f"model.layers.{n}."
        w[p + "input_layernorm.weight"] = norm()
        w[p + "self_attn.q_proj.weight"] = matrix(q, hidden, 1.5)
        w[p + "self_attn.k_proj.weight"] = matrix(kv, hidden, 1.5)
        w[p + "self_attn.v_proj.weight"] = matrix(kv, hidden)
        w[p + "self_attn.o_proj.weight"] = matrix(hidden, q)
        w[p + "post_attention_layernorm.weight"] = norm()
        w[p + "mlp.gate_proj.weight"] = matrix(ff, hidden)
        w[p + "mlp.up_proj.weight"] = matrix(ff, hidden)
        w[p + "mlp.down_proj.weight"] = matrix(hidden, ff)
    w["model.norm.weight"] = norm()
    if not tied:
        w["lm_head.weight"] = matrix(VOCAB, hidden, 1.5)
    return w


def tokenizer(missing_bytes=()):
    """Byte-level BPE with SmolLM2's pre-tokenizer; ids: specials, bytes, then merged tokens."""
    byte_chars = gguf_byte_chars()
    alphabet = [byte_chars[b] for b in range(256) if b not in missing_bytes]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = smollm_pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIALS),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained.train_from_iterator([CORPUS], trainer)
    merges = [tuple(m) for m in json.loads(trained.to_str())["model"]["merges"]]
    vocab = {}
    for token in [*SPECIALS, *alphabet, *("".join(m) for m in merges)]:
        vocab.setdefault(token, len(vocab))
    if len(vocab) != VOCAB:
        raise ValueError(f"{len(vocab)} tokens instead of {VOCAB}")
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = smollm_pre_tokenizer()
    made.decoder = decoders.ByteLevel()
    return made, vocab, merges


def smollm_pre_tokenizer():
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def gguf_byte_chars():
    """byte -> the printable character that stands for it in byte-level BPE files."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    chars, extra = {}, 0
    for byte in range(256):
        if byte in kept:
            chars[byte] = chr(byte)
        else:
            chars[byte] = chr(256 + extra)
            extra += 1
    return chars


def write_tokenizer_json(path, made, merges, merges_as_text):
    """tokenizer.json with the specials as added tokens; merges as pairs or as "a b" strings."""
    data = json.loads(made.to_str())
    data["added_tokens"] = [
        {
            "id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True,
        }
        for i, text in enumerate(SPECIALS)
    ]  # fmt: skip
    data["model"]["merges"] = [" ".join(m) if merges_as_text else list(m) for m in merges]
    path.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


def save_torch(path, tensors, dtype):
    made = {k: torch.from_numpy(v).to(dtype).contiguous() for k, v in tensors.items()}
    save_file(made, str(path), metadata={"format": "pt"})


def write_folder(folder, w, tied, dtype=torch.float32, shards=1):
    folder.mkdir(parents=True, exist_ok=True)
    config = config_json(tied)
    key = "torch_dtype" if tied else "dtype"
    config[key] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    made, _, merges = tokenizer(() if tied else UNTIED_MISSING_BYTES)
    write_tokenizer_json(folder / "tokenizer.json", made, merges, merges_as_text=not tied)
    if shards == 1:
        save_torch(folder / "model.safetensors", w, dtype)
        return
    names = sorted(w)
    index = {"metadata": {"total_size": sum(4 * v.size for v in w.values())}, "weight_map": {}}
    for s in range(shards):
        file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        part = names[s * len(names) // shards : (s + 1) * len(names) // shards]
        save_torch(folder / file, {n: w[n] for n in part}, dtype)
        index["weight_map"] |= {n: file for n in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    plain = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in plain:
        return plain[name]
    layer, module = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[module]}.weight"


def permute(w, heads):
    """Row order of q and k in a GGUF of arch `llama`: per head (2, d/2) becomes (d/2, 2)."""
    rows, cols = w.shape
    return w.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def unpermute(w, heads):
    rows, cols = w.shape
    return w.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def write_gguf(path, w, kind, made_vocab, merges, theta):
    """One GGUF v3 file. Returns {Hugging Face name: SHA-256 of the dequantised fp32 bytes}."""
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_name("tiny")
    out.add_block_count(SHAPE["num_hidden_layers"])
    out.add_context_length(SHAPE["max_position_embeddings"])
    out.add_embedding_length(SHAPE["hidden_size"])
    out.add_feed_forward_length(SHAPE["intermediate_size"])
    out.add_head_count(SHAPE["num_attention_heads"])
    out.add_head_count_kv(SHAPE["num_key_value_heads"])
    out.add_rope_freq_base(theta)
    out.add_rope_dimension_count(SHAPE["head_dim"])
    out.add_layer_norm_rms_eps(SHAPE["rms_norm_eps"])
    out.add_vocab_size(VOCAB)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    tokens = sorted(made_vocab, key=made_vocab.get)
    out.add_token_list(tokens)
    out.add_token_types([3 if t in SPECIALS else 1 for t in tokens])
    out.add_token_merges([" ".join(m) for m in merges])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_pad_token_id(2)
    out.add_add_bos_token(False)
    kind_id = gguf.GGMLQuantizationType[kind]
    sums = {}
    for name, value in w.items():
        stored = value
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
        heads = next((SHAPE[v] for k, v in heads.items() if k in name), 0)
        if heads:
            stored = permute(value, heads)
        used = kind_id if value.ndim == 2 else gguf.GGMLQuantizationType.F32
        packed = gguf.quants.quantize(np.ascontiguousarray(stored), used)
        out.add_tensor(gguf_name(name), packed, raw_dtype=used)
        plain = gguf.quants.dequantize(packed, used).astype("<f4").reshape(value.shape)
        if heads:
            plain = unpermute(plain, heads)
        sums[name] = hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return sums


def load_model(folder):
    """The folder as a transformers LlamaForCausalLM in fp32 with eager attention, frozen."""
    model = transformers.LlamaForCausalLM.from_pretrained(
        str(folder), dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().requires_grad_(False)


def sha256_of_folder_dtype(w, dtype):
    """SHA-256 of each tensor's fp32 bytes after a round trip through `dtype`."""
    return {
        n: hashlib.sha256(torch.from_numpy(v).to(dtype).float().numpy().tobytes()).hexdigest()
        for n, v in w.items()
    }


def write_all(root: pathlib.Path):
    tied, untied = weights(1, True), weights(2, False)
    write_folder(root / "tiny", tied, True)
    write_folder(root / "tiny-f16", tied, True, torch.float16)
    write_folder(root / "tiny-bf16", tied, True, torch.bfloat16)
    write_folder(root / "tiny-sharded", tied, True, shards=3)
    write_folder(root / "tiny-untied", untied, False)
    sums = {
        "tiny": sha256_of_folder_dtype(tied, torch.float32),
        "tiny-f16": sha256_of_folder_dtype(tied, torch.float16),
        "tiny-bf16": sha256_of_folder_dtype(tied, torch.bfloat16),
        "tiny-sharded": sha256_of_folder_dtype(tied, torch.float32),
        "tiny-untied": sha256_of_folder_dtype(untied, torch.float32),
    }
    (root / "gguf").mkdir(parents=True, exist_ok=True)
    _, vocab, merges = tokenizer()
    for kind in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]:
        file = f"gguf/tiny.{kind}.gguf"
        sums[file] = write_gguf(root / file, tied, kind, vocab, merges, 10000.0)
    _, vocab, merges = tokenizer(UNTIED_MISSING_BYTES)
    file = "gguf/tiny-untied.Q8_0.gguf"
    sums[file] = write_gguf(root / file, untied, "Q8_0", vocab, merges, 100000.0)
    (root / "weights.json").write_text(json.dumps(sums, indent=1) + "\n")
