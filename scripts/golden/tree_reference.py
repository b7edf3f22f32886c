"""Runs a weighted token tree in PyTorch the ordinary way: one separate pass per leaf.

This is the reference of the forest engine, so it shares nothing with it: no tree attention, no
tree positions. Each leaf's path from its root is one plain sequence through transformers' Llama;
what rows of the tree share is only *compared* afterwards, and gradients of shared rows are summed.
Used by the golden generator and by tests/interop.
"""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import torch
from transformers.models.llama import modeling_llama

MODULES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


@dataclasses.dataclass
class Tree:
    """nodes: [{parent, tokens}], a parent before its children, parent -1 starts a new root.

    Rows are numbered node after node. labels: [{row, target, weight, leaf}], sorted by row, then
    leaf. leaves: [{node}], the node a sequence ends with; it may have children, where one sequence
    is the beginning of another.
    """

    nodes: list
    labels: list
    leaves: list

    def __post_init__(self):
        self.first_row = []
        rows = 0
        for index, node in enumerate(self.nodes):
            if not -1 <= node["parent"] < index or not node["tokens"]:
                raise ValueError(f"node {index}: bad parent or no tokens")
            self.first_row.append(rows)
            rows += len(node["tokens"])
        self.row_count = rows
        keys = [(label["row"], label["leaf"]) for label in self.labels]
        if keys != sorted(set(keys)):
            raise ValueError("labels are not sorted by row, then leaf")

    @classmethod
    def of(cls, mapping):
        return cls(mapping["nodes"], mapping["labels"], mapping["leaves"])

    def path_rows(self, node):
        """Rows from the root to the end of `node`, in order: position = index in this list."""
        chain = []
        while node >= 0:
            chain.append(node)
            node = self.nodes[node]["parent"]
        rows = []
        for index in reversed(chain):
            start = self.first_row[index]
            rows.extend(range(start, start + len(self.nodes[index]["tokens"])))
        return rows

    def row_tokens(self):
        return [token for node in self.nodes for token in node["tokens"]]

    def labelled_rows(self):
        """Rows that carry a label, in order of first use."""
        return list(dict.fromkeys(label["row"] for label in self.labels))


class Recorder:
    """Collects activations by name during one forward pass (rows x features)."""

    def __init__(self, model):
        self.model = model
        self.values = {}
        self.handles = []

    def keep(self, name, tensor):
        value = tensor
        if value.dim() == 4:  # [1, heads, rows, head_dim] -> [rows, heads * head_dim]
            value = value.transpose(1, 2).flatten(2)
        self.values[name] = value[0]

    def _on_input(self, module, name, retain=False):
        def hook(_, args, kwargs):
            tensor = args[0] if args else kwargs["hidden_states"]
            if retain and tensor.requires_grad:
                tensor.retain_grad()
                self.values["d:" + name] = tensor
            self.keep(name, tensor)

        self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _on_output(self, module, name):
        def hook(_, __, output):
            self.keep(name, output[0] if isinstance(output, tuple) else output)

        self.handles.append(module.register_forward_hook(hook))

    @contextlib.contextmanager
    def attached(self):
        layer_index = 0
        plain_rope = modeling_llama.apply_rotary_pos_emb

        def rope(q, k, *args, **kwargs):
            nonlocal layer_index
            q, k = plain_rope(q, k, *args, **kwargs)
            self.keep(f"layers.{layer_index}.q", q)
            self.keep(f"layers.{layer_index}.k", k)
            layer_index += 1
            return q, k

        base = llama_of(self.model)
        for n, layer in enumerate(base.layers):
            name = f"layers.{n}."
            self._on_input(layer, name + "input", retain=True)
            self._on_output(layer.input_layernorm, name + "attn_norm")
            self._on_output(layer.self_attn.v_proj, name + "v")
            self._on_input(layer.self_attn.o_proj, name + "attn")
            self._on_input(layer.post_attention_layernorm, name + "residual")
            self._on_output(layer.post_attention_layernorm, name + "mlp_norm")
            self._on_output(layer.mlp.gate_proj, name + "gate")
            self._on_output(layer.mlp.up_proj, name + "up")
            self._on_input(layer.mlp.down_proj, name + "act")
            self._on_output(layer, name + "output")
        self._on_input(base.norm, "final.input", retain=True)
        self._on_output(base.norm, "final_norm")
        modeling_llama.apply_rotary_pos_emb = rope
        try:
            yield self
        finally:
            modeling_llama.apply_rotary_pos_emb = plain_rope
            for handle in self.handles:
                handle.remove()


def llama_of(model):
    """The LlamaModel inside a LlamaForCausalLM, with or without PEFT around it."""
    for module in model.modules():
        if isinstance(module, modeling_llama.LlamaModel):
            return module
    raise ValueError("no LlamaModel inside")


def gap_of(a, b):
    """Largest difference, relative to the largest magnitude where that is above one."""
    return (a - b).abs().max().item() / max(1.0, a.abs().max().item())


def run_tree(model, tree, backward=True, record=False):
    """Loss, logits at the labelled rows, activations and their gradients of one tree.

    LoRA gradients are added to the parameters' .grad, as a backward pass always does. The loss is
    the sum over labels of weight x cross-entropy, summed in double from fp32 terms.
    """
    rows = tree.labelled_rows()
    place = {row: i for i, row in enumerate(rows)}
    logits = [None] * len(rows)
    activations, gradients, spread = {}, {}, 0.0
    loss_total = 0.0
    tokens = tree.row_tokens()
    for leaf, end in enumerate(tree.leaves):
        path = tree.path_rows(end["node"])
        labels = [label for label in tree.labels if label["leaf"] == leaf]
        recorder = Recorder(model)
        with recorder.attached() if record else contextlib.nullcontext():
            ids = torch.tensor([[tokens[row] for row in path]])
            out = model(input_ids=ids, use_cache=False).logits[0]
        depth = {row: i for i, row in enumerate(path)}
        for row in rows:
            if row in depth:
                value = out[depth[row]].detach()
                if logits[place[row]] is None:
                    logits[place[row]] = value.clone()
                else:
                    spread = max(spread, gap_of(logits[place[row]], value))
        if labels:
            where = torch.tensor([depth[label["row"]] for label in labels])
            target = torch.tensor([label["target"] for label in labels])
            weight = torch.tensor([label["weight"] for label in labels], dtype=out.dtype)
            terms = torch.nn.functional.cross_entropy(out[where], target, reduction="none")
            loss_total += (terms.detach().double() * weight.double()).sum().item()
            if backward:
                (terms * weight).sum().backward()
        for name, value in recorder.values.items() if record else ():
            if name.startswith("d:"):
                if value.grad is None:
                    continue
                value = value.grad[0]
                name = name[2:].replace(".input", ".d_input")
                kept = gradients.setdefault(name, torch.zeros(tree.row_count, value.shape[1]))
                kept[path] += value
            else:
                value = value.detach()
                kept = activations.setdefault(
                    name, torch.full((tree.row_count, value.shape[1]), float("nan"))
                )
                seen = ~torch.isnan(kept[path][:, 0])
                if seen.any():
                    spread = max(spread, gap_of(kept[path][seen], value[seen]))
                fresh = torch.tensor(path)[~seen]
                kept[fresh] = value[~seen]
    return {
        "loss": loss_total,
        "rows": np.array(rows, dtype=np.int32),
        "logits": torch.stack(logits).float().numpy() if rows else np.zeros((0, 0), np.float32),
        "activations": {k: v.numpy() for k, v in activations.items()},
        "d_activations": {k: v.numpy() for k, v in gradients.items()},
        "spread": spread,
    }


def add_lora(model, targets, r, alpha, lora):
    """Wraps `model` with PEFT LoRA on `targets` (q k v o gate up down) and copies `lora` into it.

    lora: PEFT file names ("base_model.model....lora_A.weight") to numpy arrays.
    """
    import peft

    config = peft.LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=[MODULES[t].split(".")[1] for t in targets],
    )
    wrapped = peft.get_peft_model(model, config)
    named = dict(lora_parameters(wrapped))
    if set(named) != set(lora):
        raise ValueError("LoRA tensors do not fit the model: " + str(set(named) ^ set(lora)))
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(lora[name]))
    return wrapped


def lora_parameters(wrapped):
    """(PEFT file name, parameter) in the engine's order: layer, q k v o gate up down, A then B."""
    found = {}
    for name, parameter in wrapped.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            found[name.replace(".default.", ".")] = parameter
    order = {path: i for i, path in enumerate(MODULES.values())}

    def key(name):
        parts = name.split(".")
        layer = int(parts[parts.index("layers") + 1])
        return layer, order[".".join(parts[-4:-2])], parts[-2]

    return [(name, found[name]) for name in sorted(found, key=key)]


def lora_shapes(config, targets, r):
    """PEFT file names and shapes of A and B for a transformers Llama config."""
    hidden, ff = config.hidden_size, config.intermediate_size
    q = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    sizes = {
        "q": (hidden, q), "k": (hidden, kv), "v": (hidden, kv), "o": (q, hidden),
        "gate": (hidden, ff), "up": (hidden, ff), "down": (ff, hidden),
    }  # fmt: skip
    shapes = {}
    for layer in range(config.num_hidden_layers):
        for target in MODULES:
            if target in targets:
                n_in, n_out = sizes[target]
                stem = f"base_model.model.model.layers.{layer}.{MODULES[target]}."
                shapes[stem + "lora_A.weight"] = (r, n_in)
                shapes[stem + "lora_B.weight"] = (n_out, r)
    return shapes


def random_lora(config, targets, r, rng, b_scale):
    """A uniform in +-1/sqrt(in) as PEFT draws it, B normal with deviation b_scale (0: zeros)."""
    lora = {}
    for name, shape in lora_shapes(config, targets, r).items():
        if ".lora_A." in name:
            bound = 1.0 / np.sqrt(shape[1])
            value = rng.uniform(-bound, bound, shape)
        else:
            value = rng.standard_normal(shape) * b_scale
        lora[name] = value.astype(np.float32)
    return lora
