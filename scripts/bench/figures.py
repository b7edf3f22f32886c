"""What `make bench` makes of its measurements: ratios, shares, disagreements, the table. Pure.

found: {side: [record of each run]}. A record has `round`; ours also `beside`, the PyTorch mode it
ran right after. A side that could not be measured has records with `failed`, the reason, instead.
"""

import statistics

MODES = ["paper", "tuned", "forest"]  # each with what counts: the better of eager and compiled
OURS = {"pft": "fp32", "pft_bf16": "bf16"}
TITLES = {"paper": "(a) paper's recipe, {}", "tuned": "(b) tuned by hand, {}, eager",
          "tuned_compiled": "(b) the same, torch.compile", "forest": "(c) forest, {}, eager",
          "forest_compiled": "(c) the same, torch.compile", "pft": "(d) pft, {}, two slots",
          "pft_bf16": "(e) pft, {}, two slots"}
LOSS_BOUND = {"fp32": 1e-3, "bf16": 2e-2}  # relative to (a)
COSINE_LEAST = {"fp32": 0.99999, "bf16": 0.999}  # of our whole gradient with (a)'s


def faster(gflops):
    """Of fp32 and bf16, the precision whose products PyTorch does faster on this processor: the one that
    its tuned and forest sides run in. Without AVX512_BF16 or AMX its bf16 is many times slower."""
    return max(("fp32", "bf16"), key=lambda p: gflops[p])


def precision(found, side):
    """What a side was measured in."""
    if side in OURS:
        return OURS[side]
    return "fp32" if side == "paper" else faster(found["gemm"][0]["gflops"])


def three(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def failed(found, side):
    """The reason why a side has no figures, or None."""
    return next((r["failed"] for r in found[side] if "failed" in r), None)


def measured(found):
    return [side for side in TITLES if side in found and not failed(found, side)]


def rates(found):
    return {side: three([r["pairs_per_s"] for r in found[side]]) for side in measured(found)}


def best(found, mode):
    """The side that counts for a mode: eager or compiled, whichever has the higher median."""
    rate = rates(found)
    return max((s for s in (mode, mode + "_compiled") if s in rate), key=lambda s: rate[s]["median"])


def ratios(found):
    """{fp32_vs_paper: {min, median, max}, ...} over the rounds: each of our runs over the PyTorch
    run it came right after."""
    made = {}
    for ours, precision in OURS.items():
        for mode in MODES if ours in found else []:
            theirs = {r["round"]: r["pairs_per_s"] for r in found[best(found, mode)]}
            made[f"{precision}_vs_{mode}"] = three(
                [r["pairs_per_s"] / theirs[r["round"]] for r in found[ours] if r["beside"] == mode])
    return made


def gemm_rates(found):
    """{"torch": {precision: GFLOP/s}, "pft": {...}}: the median over the runs."""
    ours = [r["gflops"] for r in found["pft"]]
    theirs = [r["gflops"] for r in found["gemm"]]
    return {name: {p: statistics.median(r[p] for r in records) for p in records[0]}
            for name, records in (("torch", theirs), ("pft", ours))}


def without_gemm(found, ratio):
    """The ratios' medians over how much faster our GEMM is than theirs, each in its precision."""
    rate = gemm_rates(found)
    made = {}
    for name, value in ratio.items():
        ours, mode = name.split("_vs_")
        factor = rate["pft"][ours] / rate["torch"][precision(found, mode)]
        made[name] = {"gemm_factor": factor, "ratio": value["median"] / factor}
    return made


def shares(found, flops_per_pair):
    """{side: useful FLOPs / wall / the GEMM peak of that side in its precision}. Ours is over the
    peak measured in the same run."""
    torch = gemm_rates(found)["torch"]
    made = {}
    for side in measured(found):
        p = precision(found, side)
        made[side] = three([flops_per_pair * r["pairs_per_s"] * 1e-9 / r.get("gflops", torch)[p]
                            for r in found[side]])
    return made


def last_loss(found, side):
    """The loss of the last run that went over every pair."""
    return [r["loss"] for r in found[side] if "loss" in r][-1]


def disagreements(found, cosines):
    """Sentences, one for each side whose loss or our gradient is not (a)'s."""
    right = last_loss(found, "paper")
    said = []
    for side in measured(found):
        bound = LOSS_BOUND[precision(found, side)]
        for loss in {r["loss"] for r in found[side] if "loss" in r}:
            if not abs(loss - right) <= bound * abs(right):
                said.append(f"loss of {side} {loss:.5f}, of paper {right:.5f}, bound {bound:.0e} relative")
    for side in measured(found):
        least = COSINE_LEAST[precision(found, side)]
        if side in OURS and not cosines[side]["whole"] >= least:
            said.append(f"gradient of {side}: cosine {cosines[side]['whole']:.6f} with that of paper, "
                        f"at least {least}")
    return said


def rows(found, cosines, share):
    """The table's lines, header first."""
    rate = rates(found)
    counted = {best(found, mode) for mode in MODES}
    lines = [f"{'':<32} {'pairs/s: min':>12} {'median':>8} {'max':>8} {'tokens/s':>9} {'peak MiB':>9} "
             f"{'loss':>8} {'cosine':>10} {'worst':>10} {'of peak':>8}"]
    for side, title in TITLES.items():
        if side not in found:
            continue
        title = title.format(precision(found, side))
        if failed(found, side):
            lines.append(f"{title:<32}  not measured: {failed(found, side)}")
            continue
        r, records = rate[side], found[side]
        tokens = statistics.median(x["tokens_per_s"] for x in records)
        cosine = cosines.get(side)
        both = f"{cosine['whole']:>10.7f} {cosine['worst']:>10.7f}" if cosine else f"{'-':>10} {'-':>10}"
        two_ways = side.removesuffix("_compiled") + "_compiled" in found
        mark = " *" if two_ways and side in counted else ""
        lines.append(f"{title + mark:<32} {r['min']:>12.3f} {r['median']:>8.3f} {r['max']:>8.3f} {tokens:>9.1f} "
                     f"{max(x['peak_rss_mib'] for x in records):>9} {last_loss(found, side):>8.4f} {both} "
                     f"{share[side]['median']:>8.3f}")
    return lines


def table(found, cosines, flops_per_pair):
    ratio, rate = ratios(found), gemm_rates(found)
    divided, share = without_gemm(found, ratio), shares(found, flops_per_pair)
    lines = rows(found, cosines, share)
    lines += ["", f"{'ratio of pairs/s':<18} {'min':>8} {'median':>8} {'max':>8} {'GEMM factor':>12} {'divided out':>12}"]
    for name, value in ratio.items():
        lines.append(f"{name:<18} {value['min']:>8.2f} {value['median']:>8.2f} {value['max']:>8.2f} "
                     f"{divided[name]['gemm_factor']:>12.2f} {divided[name]['ratio']:>12.2f}")
    lines += ["", "GEMM peak, two threads, GFLOP/s: " + "; ".join(
        f"{who} " + ", ".join(f"{p} {value:.0f}" for p, value in rate[who].items()) for who in rate)
        + f" (pft: OpenBLAS {found['pft'][-1]['core_type']})"]
    paper = [r["recipe_loss"] for r in found["paper"] if "recipe_loss" in r][-1]
    lines += [
        f"loss: mean over scenarios of the mean over pairs of CE_a + CE_b; as the paper reports it, every "
        f"pair alike: {paper:.4f}",
        "cosine: of the gradient with (a)'s, all parameters as one vector; worst: of the worst tensor",
        f"of peak: useful FLOPs / wall / the side's own GEMM peak; {flops_per_pair * 1e-9:.1f} GFLOP a pair, "
        "formula in scripts/bench/flops.py",
        f"precision of (b) and (c): {faster(found['gemm'][0]['gflops'])}, in which PyTorch's products are faster here",
        "tokens: padded ones included; ratios: of runs one after the other; * counts in the ratios"]
    return lines
