#!/usr/bin/env python3
"""Run every tensor-core entry of ptx/manifest.json against numpy float64.

    HONE_CUDA=<a library with the CUDA driver API> kernels/check.py [WORD ...]

runs the entries whose symbol contains every word. An error may be twice (gradients: three times) what a naive bf16
implementation makes of the same numbers, one that rounds every intermediate matrix to bf16. Shapes are odd on purpose;
outputs start as NaN and lie between guards; rows lie apart (ld*), with NaN in the gaps.
"""
import json
import sys
import time

sys.dont_write_bytecode = True
import check_attention
import check_linear
import check_lora
from driver import ROOT, Driver

CHECKS = {**check_linear.CHECKS, **check_lora.CHECKS, **check_attention.CHECKS}


def main():
  entries = json.loads((ROOT / "ptx/manifest.json").read_text())["entries"]
  chosen = [e for e in entries if e["source"].startswith("kernels/triton/")
            and all(word in e["entry"] for word in sys.argv[1:])]
  driver, failed = Driver(), []
  for entry in chosen:
    start, worst, cases = time.time(), 0.0, 0
    for case, got, allowed in CHECKS[entry["op"]](driver, entry):
      cases += 1
      worst = max(worst, got / allowed if allowed else float(got > 0))
      if not got <= allowed:
        failed.append(f"{entry['entry']}: {case}: error {got:.2e}, allowed {allowed:.2e}")
        print("FAIL", failed[-1], flush=True)
    if not cases:
      failed.append(f"{entry['entry']}: no shape fits it")
    print(f"{entry['entry']}: {cases} results, worst {worst:.2f} of the allowed error, {time.time() - start:.1f} s",
          flush=True)
  print(f"{len(chosen)} entries, {len(failed)} failures")
  return 1 if failed or not chosen else 0


if __name__ == "__main__":
  sys.exit(main())
