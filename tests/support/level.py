"""The kernels that a test runs on: this machine's best, or those that PFT_TEST_KERNELS names (or `below`: the
level under the best), so that ctest asks the same of every level. Imported before a program of ours is started; ends the script as skipped where
this processor does not run them."""
import os
import sys

FLAGS = {"portable": set(), "x86-64-v3": {"avx2", "fma", "bmi1", "bmi2"},
         "x86-64-v4": {"avx2", "fma", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}}


def processor(key):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith(key)), "")


LEVEL = os.environ.get("PFT_TEST_KERNELS")
if LEVEL == "below":  # the one under this machine's best
    runs = [name for name, flags in FLAGS.items() if flags <= set(processor("flags").split())]
    LEVEL = runs[-2] if len(runs) > 1 else runs[-1]
    print(f"kernels {LEVEL}")
if LEVEL:
    if LEVEL not in FLAGS:
        sys.exit(f"PFT_TEST_KERNELS={LEVEL}: one of {', '.join(FLAGS)} is needed")
    if not FLAGS[LEVEL] <= set(processor("flags").split()):
        print(f"skipped: this CPU ({processor('model name')}) does not run {LEVEL}")
        sys.exit(77)
    os.environ["PFT_KERNELS"] = LEVEL  # what `kernels: native` stands for in every program started from here
