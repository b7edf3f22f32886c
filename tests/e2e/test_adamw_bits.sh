#!/usr/bin/env bash
# The coordinator's arithmetic gives the same bytes at -O0 and -O3, with gcc and clang, with and
# without wide vectors. Compiles adamw, schedule and reduce with a small program of its own.
# Exit 77 (skipped) when a compiler is missing: a comparison of one says nothing.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for compiler in gcc clang; do
    if ! command -v "$compiler" >/dev/null; then
        echo "SKIP: $compiler is not installed (apt-get install $compiler)"
        exit 77
    fi
done

cat >"$work/bits.c" <<'PROGRAM'
#include <stdio.h>
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/adamw.h"
#include "coordinator/reduce.h"
#include "coordinator/schedule.h"

enum { N = 100003 };
static float p[N], m[N], v[N], g[N];
static int64_t payload[N];

int main(void)
{
    const struct adamw_config cfg = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
                                     .weight_decay = 0.01, .clip = 1.0};
    const struct schedule schedule = {.steps = 20, .warmup = schedule_warmup(20)};
    struct adamw_state s = {.count = N, .p = p, .m = m, .v = v, .beta1_t = 1.0, .beta2_t = 1.0};
    struct reduce *r = NULL;
    if (reduce_new(N, &r) != OK) {
        return 1;
    }
    for (uint32_t i = 0; i < N; i++) {
        p[i] = rng_unit(1, i) - 0.5f;
    }
    for (uint64_t step = 0; step < 20; step++) {
        const uint32_t unit = 0, labels = 7;
        const int64_t loss = 12345678901;
        struct reduce_total total;
        for (uint32_t i = 0; i < N; i++) {
            payload[i] = (int64_t)(rng_at(step + 2, i) >> 13) - ((int64_t)1 << 50);
            payload[i] >>= rng_below(step + 2, N + i, 40);
        }
        struct reduce_job job = {1, &unit, &loss, &labels, payload, sizeof payload, {0}};
        hash_xxh128(payload, sizeof payload, job.digest);
        if (reduce_begin(r, step, 1, 1) != OK || reduce_add(r, step, &job) != OK ||
            reduce_finish(r, g, &total) != OK) {
            return 1;
        }
        double norm = adamw_step(&cfg, &s, g, 5e-4 * schedule_factor(&schedule, step));
        printf("%a %a\n", norm, total.loss);
    }
    reduce_free(&r);
    return fwrite(p, sizeof p, 1, stdout) + fwrite(m, sizeof m, 1, stdout) +
                   fwrite(v, sizeof v, 1, stdout) == 3 ? 0 : 1;
}
PROGRAM

flags="-std=c17 -D_GNU_SOURCE -fno-math-errno -ffp-contract=off -w -I$root"
sources="$work/bits.c $root/coordinator/adamw.c $root/coordinator/schedule.c
    $root/coordinator/reduce.c $root/common/base/mem.c $root/common/base/hash.c
    $root/common/base/err.c"
wide=""
grep -q avx2 /proc/cpuinfo && wide="-O3:-march=x86-64-v3"
grep -q avx512vl /proc/cpuinfo && wide="$wide -O3:-march=x86-64-v4"

want=""
for compiler in gcc clang; do
    for options in -O0 -O2 -O3 $wide; do
        # shellcheck disable=SC2086
        "$compiler" $flags ${options//:/ } $sources -lxxhash -lsodium -lm -o "$work/bits"
        got=$("$work/bits" | sha256sum | cut -d ' ' -f 1)
        echo "$got $compiler ${options//:/ }"
        want=${want:-$got}
        if [ "$got" != "$want" ]; then
            echo "FAIL: $compiler ${options//:/ } computes other bits" >&2
            exit 1
        fi
    done
done
echo "ok: the same bytes every time"
