"""What PyTorch + transformers + PEFT need for the same pairs: the other side of `make bench`.

    torch_side.py --model GGUF --mode MODE --out FILE [--forest FILE] [--adapter FILE]
                  [--gradient FILE] [--compile] [--compile-seconds 240] [--seconds 0] [--threads 2]
                  [--precision fp32|bf16]

Modes, forward + backward of LoRA r 8 on q, k, v, o, dropout 0, no optimiser step:
    prepare  writes --adapter, the random A and B that every side starts from
    gemm     sgemm and bf16 gemm, GFLOP/s, at one large shape and at one of the model's
    paper    fp32, pair by pair, each side a pass of its own padded to 512, logits everywhere
    tuned    each distinct sequence once, sorted by length, batches of about --batch-tokens,
             logits only where there is a label
    forest   each group once as a tree: 4-D attention mask, positions by depth

tuned and forest run in --precision: the caller gives the one whose products are faster on this processor.

The loss is one quantity in every mode: mean over groups of the mean over a group's pairs of
CE_a + CE_b, CE a mean over answer tokens. --gradient gets its gradient, summed in fp32. Every mode
is warmed up before the clock starts. --compile runs the step through torch.compile (dynamic
shapes); when that fails or its warm-up takes more than --compile-seconds, `failed` says so.
"""

import argparse
import gc
import json
import os
import pathlib
import platform
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import gguf_reference
import numpy as np
import peft
import torch
import transformers
import tree_reference as ref
from forest_file import read_groups, tree_mask
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

PADDED = 512
RANK, ALPHA, TARGETS = 8, 32, ["q", "k", "v", "o"]
DEVIATION_B = 0.02  # B is not zero: with B zero every gradient of A is
SHAPES = [(1536, 1536, 1536), (512, 1536, 576)]  # rows, in, out


def load(arguments, dtype):
    """The PEFT model with the shared adapter; LoRA in the model's own precision, as is fastest."""
    model = gguf_reference.Gguf(arguments.model).model(dtype, "sdpa")
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        target_modules=[ref.MODULES[t].split(".")[1] for t in TARGETS],
    )
    wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    adapter = load_file(arguments.adapter)
    with torch.no_grad():
        for name, parameter in ref.lora_parameters(wrapped):
            parameter.copy_(adapter[name])
    gc.collect()
    return wrapped


class Gradient:
    """Sums of the LoRA gradients in fp32, whatever precision the model has, over a pass."""

    def __init__(self, model):
        self.parameters = ref.lora_parameters(model)
        self.sums = {name: torch.zeros(p.shape) for name, p in self.parameters}

    def take(self):
        for name, parameter in self.parameters:
            self.sums[name] += parameter.grad
            parameter.grad = None

    def save(self, path, groups):
        save_file({name: value / groups for name, value in self.sums.items()}, path)

    def clear(self):
        for name, parameter in self.parameters:
            self.sums[name].zero_()
            parameter.grad = None


def forget_peak():
    """The peak is that of the steps, not of reading the file or of a compiler."""
    gc.collect()
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_rss_mib():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise SystemExit("bench: no VmHWM in /proc/self/status")


def result(seconds, **counts):
    made = {"seconds": round(seconds, 3), **counts, "peak_rss_mib": peak_rss_mib()}
    for name in ("pairs", "tokens", "useful_tokens"):
        made[name + "_per_s"] = round(counts[name] / seconds, 3)
    return made


def run_paper(arguments):
    """Pair by pair as the paper's code does. Every padded pair costs the same, so a bounded time
    (--seconds) gives the rate; only a whole pass has a loss and a gradient."""
    groups = read_groups(arguments.forest)
    model = load(arguments, torch.float32)
    gradient = Gradient(model)
    # Micro-batches do not matter here: each pair weighs what the common loss gives it.
    work = [(pair, 1.0 / len(group.pairs)) for group in groups for pair in group.pairs]
    longest = max(len(s.tokens) for group in groups for s in group.sequences)
    if longest > PADDED:
        raise SystemExit(f"bench: a sequence has {longest} tokens, the paper's recipe cuts at {PADDED}")

    def side_loss(sequence):
        size = len(sequence.tokens)
        ids = torch.zeros(1, PADDED, dtype=torch.long)
        mask = torch.zeros(1, PADDED, dtype=torch.long)
        labels = torch.full((PADDED,), -100)
        ids[0, :size] = torch.tensor(sequence.tokens)
        mask[0, :size] = 1
        labels[sequence.positions] = torch.tensor(sequence.targets)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
        return cross_entropy(logits, labels)

    def step(pair, weight):
        loss = side_loss(pair[0]) + side_loss(pair[1])
        (loss * weight).backward()
        gradient.take()
        return loss.item()

    step(*work[0])
    gradient.clear()
    forget_peak()
    start, losses = time.monotonic(), []
    for pair, weight in work:
        if len(losses) >= 2 and 0 < arguments.seconds <= time.monotonic() - start:
            break
        losses.append(step(pair, weight))
    seconds = time.monotonic() - start
    done = work[: len(losses)]
    made = result(
        seconds, pairs=len(done), pairs_in_all=len(work), tokens=len(done) * 2 * PADDED,
        useful_tokens=sum(len(s.tokens) for pair, _ in done for s in pair),
    )  # fmt: skip
    if len(done) < len(work):
        return made
    weighed = sum(loss * weight for loss, (_, weight) in zip(losses, work, strict=True))
    # As the paper reports it: every pair alike, whatever scenario it is of.
    gradient.save(arguments.gradient, len(groups))
    return made | {"loss": weighed / len(groups), "recipe_loss": sum(losses) / len(losses)}


def head_loss(head, hidden, pick, targets, weights):
    """Sum over labels of weight x CE; hidden has the labelled rows, pick the row of each label."""
    logits = head(hidden).float()
    return -(torch.log_softmax(logits, dim=-1)[pick, targets] * weights).sum()


def tuned_batch(sequences):
    width = max(len(s.tokens) for s in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.tokens)] = torch.tensor(sequence.tokens)
        mask[row, : len(sequence.tokens)] = 1
    at = [(row, position) for row, s in enumerate(sequences) for position in s.positions]
    row, column = torch.tensor(at).T.contiguous()
    targets = torch.tensor([t for s in sequences for t in s.targets])
    weights = torch.tensor([w for s in sequences for w in s.weights])
    return ids, mask, None, row, column, torch.arange(len(at)), targets, weights


def tuned_batches(groups, most_tokens):
    sequences = sorted((s for g in groups for s in g.sequences), key=lambda s: len(s.tokens))
    batches, current = [], []
    for sequence in sequences:
        if current and len(sequence.tokens) * (len(current) + 1) > most_tokens:
            batches.append(current)
            current = []
        current.append(sequence)
    return [tuned_batch(batch) for batch in [*batches, current]]


def forest_batch(tree, dtype):
    mask, positions = tree_mask(tree, dtype)
    rows = tree.labelled_rows()
    place = {row: i for i, row in enumerate(rows)}
    pick = torch.tensor([place[label["row"]] for label in tree.labels])
    targets = torch.tensor([label["target"] for label in tree.labels])
    weights = torch.tensor([label["weight"] for label in tree.labels])
    ids = torch.tensor([tree.row_tokens()])
    return ids, mask, positions, torch.zeros_like(pick[: len(rows)]), torch.tensor(rows), pick, targets, weights


def give_up_after(seconds, out):
    """Ends the process with a result that says so, unless cancelled: a compiler cannot be asked."""

    def give_up():
        finish({"failed": f"the compiled step's warm-up took more than {seconds:.0f} s"}, out)
        os._exit(0)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    return timer


def run_batches(arguments):
    """tuned and forest: batches made beforehand, then forward and backward of each."""
    groups = read_groups(arguments.forest)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[arguments.precision]
    inner = load(arguments, dtype)
    gradient = Gradient(inner)
    inner = inner.get_base_model()
    if arguments.mode == "tuned":
        batches = tuned_batches(groups, arguments.batch_tokens)
        useful = sum(len(s.tokens) for g in groups for s in g.sequences)
    else:
        batches = [forest_batch(group.tree, dtype) for group in groups]
        useful = sum(group.tree.row_count for group in groups)
    compute_loss = head_loss

    def step(batch):
        ids, mask, positions, row, column, *labels = batch
        hidden = inner.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        loss = compute_loss(inner.lm_head, hidden[row, column], *labels)
        loss.backward()
        gradient.take()
        return loss.item()

    begun = time.monotonic()
    if arguments.compile:
        torch._dynamo.config.recompile_limit = 64
        # Layer by layer: the graph of the whole model takes many minutes to compile on two cores.
        compute_loss = torch.compile(head_loss, dynamic=True)
        for layer in inner.model.layers:
            layer.compile(dynamic=True)
        timer = give_up_after(arguments.compile_seconds, arguments.out)
        try:
            for batch in batches:  # all of them: no shape is compiled under the clock
                step(batch)
        except Exception as error:
            words = str(error).strip().splitlines() or [""]
            return {"failed": f"{type(error).__name__}: {words[0][:200]}"}
        finally:
            timer.cancel()
    else:
        for batch in (batches[0], batches[-1]):
            step(batch)
    warm_up = time.monotonic() - begun
    gradient.clear()
    forget_peak()
    start = time.monotonic()
    loss = sum(step(batch) for batch in batches)
    seconds = time.monotonic() - start
    made = result(
        seconds, pairs=sum(len(g.pairs) for g in groups), tokens=sum(b[0].numel() for b in batches),
        useful_tokens=useful,
    )  # fmt: skip
    gradient.save(arguments.gradient, len(groups))
    return made | {"loss": loss / len(groups), "warm_up_s": round(warm_up, 1)}


def run_gemm(arguments):
    made = {}
    for dtype, kind in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        for m, k, n in SHAPES:
            a, b = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
            best, start = float("inf"), time.monotonic()
            while time.monotonic() - start < 1.5:
                begin = time.perf_counter()
                torch.nn.functional.linear(a, b)
                best = min(best, time.perf_counter() - begin)
            made[f"{kind}_{m}x{k}x{n}"] = round(2e-9 * m * k * n / best, 1)
    best = {kind: max(v for k, v in made.items() if k.startswith(kind)) for kind in ("fp32", "bf16")}
    return {"gflops": best, "shapes": made}


def run_prepare(arguments):
    config = gguf_reference.Gguf(arguments.model).config()
    lora = ref.random_lora(config, TARGETS, RANK, np.random.default_rng(0), DEVIATION_B)
    save_file({k: torch.from_numpy(v) for k, v in lora.items()}, arguments.adapter)
    shape = {
        "layers": config.num_hidden_layers, "hidden": config.hidden_size,
        "ff": config.intermediate_size, "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads, "head_dim": config.head_dim,
        "vocab": config.vocab_size,
    }  # fmt: skip
    about = {
        "torch": torch.__version__, "transformers": transformers.__version__,
        "peft": peft.__version__, "python": platform.python_version(),
        "threads": arguments.threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip
    return {"shape": shape, "about": about}


def finish(made, out):
    pathlib.Path(out).write_text(json.dumps(made) + "\n")


MODES = {
    "prepare": run_prepare, "gemm": run_gemm, "paper": run_paper, "tuned": run_batches,
    "forest": run_batches,
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--mode", choices=list(MODES), required=True)
    parser.add_argument("--out", required=True, help="file for the JSON")
    parser.add_argument("--forest")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="of tuned and forest")
    parser.add_argument("--adapter")
    parser.add_argument("--gradient", help="file for the gradient")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--compile-seconds", type=float, default=240.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="of paper, 0: every pair")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    finish(MODES[arguments.mode](arguments), arguments.out)


if __name__ == "__main__":
    main()
