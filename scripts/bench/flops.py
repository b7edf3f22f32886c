"""Useful floating-point operations of a tree, forward and backward: what any engine has to multiply.

Counted, 2 m n k for each product [m, k] [k, n], once:
    frozen matrices   forward, and the gradient of their input (none below the first layer's q k v)
    LoRA, rank r      u = x A^T, u B^T; dB, du, dA, du A (the last not below the first layer)
    attention         2 products forward, 4 backward, over the pairs of tokens that see each other
    head              logits and the gradient of its input, at the rows that have a label
In the last layer q, o and the MLP only at rows that have a label. Not counted: anything computed
again, masked scores, padding, norms, activations, softmax, rounding.
"""

LORA = ("q", "k", "v", "o")


def matrices(shape):
    """{name: (in, out)} of a layer's frozen matrices."""
    d, f = shape["hidden"], shape["ff"]
    q, kv = (shape[heads] * shape["head_dim"] for heads in ("heads", "kv_heads"))
    return {"q": (d, q), "k": (d, kv), "v": (d, kv), "o": (q, d), "gate": (d, f), "up": (d, f), "down": (f, d)}


def depths(nodes):
    """Tokens a row sees, itself included, row by row."""
    seen, ends = [], []
    for node in nodes:
        start = ends[node["parent"]] if node["parent"] >= 0 else 0
        seen += range(start + 1, start + len(node["tokens"]) + 1)
        ends.append(start + len(node["tokens"]))
    return seen


def linear(rows, size, rank, through):
    """One matrix with or without (rank 0) an adapter; through: the input's gradient is needed."""
    into, out = size
    products = into * out * (2 if through else 1)
    products += rank * (into + out) + rank * (2 * out + into * (2 if through else 1))
    return 2 * rows * products


def useful_flops(group, shape, rank):
    seen = depths(group["nodes"])
    labelled = {label["row"] for label in group["labels"]}
    read = sum(seen[row] for row in labelled)
    total = 4 * len(labelled) * shape["hidden"] * shape["vocab"]
    for layer in range(shape["layers"]):
        last = layer == shape["layers"] - 1
        total += 12 * shape["heads"] * shape["head_dim"] * (read if last else sum(seen))
        for name, size in matrices(shape).items():
            rows = len(labelled) if last and name not in ("k", "v") else len(seen)
            through = layer > 0 or name not in ("q", "k", "v")
            total += linear(rows, size, rank if name in LORA else 0, through)
    return total
