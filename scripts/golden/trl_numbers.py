"""TRL's own numbers for the objectives it has: trl_numbers.py TESTS_GOLDEN_FOLDER

Writes objectives/trl.json from objectives/objectives.json (scripts/golden/objectives.py). TRL's
trainers cut the batch, sum the log-probabilities, switch the adapter off for the reference and
compute the loss; only their constructors (datasets, loggers) are left out. TRL 0.19.1 wants an older
transformers than the other goldens, so it has an environment of its own:

    trl==0.19.1 transformers==4.53.3 tokenizers==0.21.4 huggingface_hub==0.33.4 peft==0.15.2
    accelerate==1.8.1 datasets==3.6.0
"""

from __future__ import annotations

import json
import pathlib
import sys
import types

import torch
import transformers
import trl
from safetensors.numpy import load_file

import tree_reference as ref

# name: (trainer, its settings, weights of sides a and b), as the configs of objectives.json say
CASES = {
    "dpo": (trl.DPOTrainer, {"beta": 0.1, "label_smoothing": 0.0}, (1.0, 1.0)),
    "dpo-smooth": (trl.DPOTrainer, {"beta": 0.5, "label_smoothing": 0.125}, (1.0, 0.25)),
    "simpo": (
        trl.CPOTrainer,
        {"beta": 0.1, "simpo_gamma": 0.5, "cpo_alpha": 1.0, "label_smoothing": 0.0},
        (1.0, 1.0),
    ),
    "simpo-plain": (
        trl.CPOTrainer,
        {"beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0, "label_smoothing": 0.25},
        (1.0, 1.0),
    ),
}


def check_defaults():
    """What docs/objectives.md says of TRL's defaults."""
    dpo, cpo = (config(output_dir="x", bf16=False) for config in (trl.DPOConfig, trl.CPOConfig))
    found = (dpo.beta, dpo.label_smoothing, cpo.beta, cpo.simpo_gamma, cpo.cpo_alpha)
    if found != (0.1, 0.0, 0.1, 0.5, 1.0):
        raise ValueError(f"TRL {trl.__version__} has other defaults: {found}")


def trainer(kind, settings, model):
    """A trainer with what its loss reads, without dataset and logging."""
    t = object.__new__(kind)
    accelerator = types.SimpleNamespace(
        device=torch.device("cpu"),
        unwrap_model=lambda m: m,
        gather_for_metrics=lambda x: x,
    )
    values = {
        "accelerator": accelerator,
        "model": model,
        "is_encoder_decoder": False,
        "padding_value": 0,
        "label_pad_token_id": -100,
        "max_length": None,
        "truncation_mode": "keep_end",
        "aux_loss_enabled": False,
    }
    if kind is trl.DPOTrainer:
        values |= {
            "loss_type": "sigmoid",
            "reference_free": False,
            "ref_model": None,
            "is_peft_model": True,
            "ref_adapter_name": None,
            "model_adapter_name": None,
            "f_divergence_type": "reverse_kl",
            "f_divergence_params": {},
            "use_weighting": False,
            "use_logits_to_keep": False,
            "padding_free": False,
            "precompute_ref_log_probs": False,
            "_peft_has_been_casted_to_bf16": False,
            "args": types.SimpleNamespace(rpo_alpha=None, ld_alpha=None, use_liger_loss=False),
        }  # fmt: skip
    else:
        values |= {"loss_type": "simpo"}
    for name, value in (values | settings).items():
        setattr(t, name, value)
    return t


def ids(tokens):
    return torch.tensor([tokens]), torch.ones(1, len(tokens), dtype=torch.long)


def dpo_batch(chosen, rejected):
    prompt = chosen["tokens"][: chosen["first_label"]]
    batch = {}
    for name, tokens in (
        ("prompt", prompt),
        ("chosen", chosen["tokens"][chosen["first_label"] :]),
        ("rejected", rejected["tokens"][rejected["first_label"] :]),
    ):
        batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"] = ids(tokens)
    return batch


def cpo_batch(chosen, rejected):
    batch = {}
    for name, leaf in (("chosen", chosen), ("rejected", rejected)):
        batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"] = ids(leaf["tokens"])
        labels = batch[f"{name}_input_ids"].clone()
        labels[:, : leaf["first_label"]] = -100
        batch[f"{name}_labels"] = labels
    return batch


def case_loss(name, model, golden):
    kind, settings, w = CASES[name]
    t = trainer(kind, settings, model)
    leaf = {(x["side"], x["option"]): x for x in golden["leaves"]}
    make = dpo_batch if kind is trl.DPOTrainer else cpo_batch
    total = 0.0
    for a, b in golden["pairs"]:
        for side, chosen, rejected in ((0, a, b), (1, b, a)):
            batch = make(leaf[side, chosen], leaf[side, rejected])
            loss, _ = t.get_batch_loss_metrics(model, batch, "train")
            total = total + w[side] * loss / len(golden["pairs"])
    return total


def main():
    root = pathlib.Path(sys.argv[1])
    folder = root / "objectives"
    torch.set_num_threads(1)
    check_defaults()
    golden = json.loads((folder / "objectives.json").read_text())
    model = transformers.LlamaForCausalLM.from_pretrained(
        str(root / "tiny"), torch_dtype=torch.float32, attn_implementation="eager"
    )
    model = model.double().eval().requires_grad_(False)
    lora = golden["lora"]
    adapter = load_file(str(folder / "lora.safetensors"))
    model = ref.add_lora(model, lora["targets"], lora["r"], lora["alpha"], adapter).double()
    out = {"trl": trl.__version__, "cases": []}
    for name in CASES:
        model.zero_grad(set_to_none=True)
        loss = case_loss(name, model, golden)
        loss.backward()
        theirs = load_file(str(folder / f"{name}.safetensors"))
        worst = 0.0
        for parameter_name, parameter in ref.lora_parameters(model):
            mine = torch.from_numpy(theirs[parameter_name + ".grad"]).double()
            gap = (parameter.grad - mine).norm() / parameter.grad.norm()
            worst = max(worst, gap.item())
        if not worst < 1e-6:
            raise ValueError(f"{name}: gradients differ by {worst}")
        out["cases"].append({"name": name, "loss": loss.item()})
        print(f"{name}: TRL {loss.item():.12f}, gradients within {worst:.1e} of the fixture's")
    (folder / "trl.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
