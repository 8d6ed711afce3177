#!/usr/bin/env python3
"""Run every entry of the row, flat and quantisation kernels against numpy float64, or bit for bit against libhone.

    HONE_CUDA=<library with the CUDA driver API> HONE_LIB=<libhone.so> kernels/check_rows.py [WORD ...]

Both tiers; WORDs choose entries whose symbol contains all of them. An element may be off by the rounding to its type plus
what its f32 arithmetic costs, written at each check. Shapes are odd on purpose, bases aligned and not; outputs start as
NaN and lie between guards.
"""
import json
import sys
import time

sys.dont_write_bytecode = True
import check_elements
import check_generate
import check_quant
import check_reductions
from driver import ROOT, Driver

CHECKS = {**check_elements.CHECKS, **check_reductions.CHECKS, **check_quant.CHECKS,
          **check_generate.CHECKS}


def main():
  entries = json.loads((ROOT / "ptx/manifest.json").read_text())["entries"]
  chosen = [e for e in entries if e["op"] in CHECKS and all(word in e["entry"] for word in sys.argv[1:])]
  driver, failed = Driver(), []
  for entry in chosen:
    start, worst, cases = time.time(), 0.0, 0
    for case, share in CHECKS[entry["op"]](driver, entry):
      cases += 1
      worst = max(worst, share)
      if not share <= 1:
        failed.append(f"{entry['entry']} {entry['tier']}: {case}: {share:.2f} of the allowed error")
        print("FAIL", failed[-1], flush=True)
    if not cases:
      failed.append(f"{entry['entry']}: no case fits it")
    print(f"{entry['tier']} {entry['entry']}: {cases} results, worst {worst:.2f} of the allowed error, "
          f"{time.time() - start:.1f} s", flush=True)
  print(f"{len(chosen)} entries, {len(failed)} failures")
  return 1 if failed or not chosen else 0


if __name__ == "__main__":
  sys.exit(main())
