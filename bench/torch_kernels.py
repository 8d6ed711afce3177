#!/usr/bin/env python3
"""torch's times for what CudaBench times, as rows of the same CSV: cuBLAS products, SDPA, a norm, a copy.

    torch_kernels.py OUT.csv [--shape 7b|tiny] [--device cuda|cpu] [--date D] [--commit C] [--version V]

The tables of ops and shapes are those of CudaOps.java; rows are told apart by the column `by`.
"""
import argparse
import csv
import os
import statistics
import time

import torch
import torch.nn.functional as F

HEADER = "date,card,driver,commit,by,op,shape,time_us,spread,tflop_s,gb_s,tokens_s,vram_mib,share,of".split(",")
# hidden, heads, ffn, batches
SHAPES = {"7b": (4096, 32, 11008, (512, 2048, 8192)), "tiny": (128, 2, 192, (48,))}


class Bench:
  def __init__(self, args):
    self.args = args
    self.cuda = args.device == "cuda"
    self.card = torch.cuda.get_device_name() if self.cuda else "CPU"
    new = not os.path.exists(args.out)
    self.file = open(args.out, "a", newline="")
    self.rows = csv.writer(self.file, lineterminator="\n")
    if new:
      self.rows.writerow(HEADER)

  def random(self, *shape):
    return torch.randn(*shape, dtype=torch.bfloat16, device=self.args.device)

  def microseconds(self, call, calls):
    if not self.cuda:
      began = time.perf_counter()
      for _ in range(calls):
        call()
      return (time.perf_counter() - began) * 1e6
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
      call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e3

  def row(self, op, shape, call, flops, nbytes):
    """The median of eleven runs, each long enough to hide a launch, as Timing.java does."""
    for _ in range(3):
      first = self.microseconds(call, 1)
    calls = int(min(max(2000 / max(first, 1), 1), 200))
    times = sorted(self.microseconds(call, calls) / calls for _ in range(11 if self.cuda else 3))
    median = statistics.median(times)
    cells = [self.args.date, self.card, self.args.version, self.args.commit, f"torch {torch.__version__}", op, shape,
             f"{median:.4g}" if median < 1000 else f"{median:.0f}", f"{(times[-1] - times[0]) / median:.4g}",
             f"{flops / median / 1e6:.4g}" if flops else "", f"{nbytes / median / 1e3:.4g}", "", "", "", ""]
    self.rows.writerow(cells)
    self.file.flush()
    print(f"{op:22} {shape:40} {median:12.1f} us  {cells[9]:>8} TFLOP/s {cells[10]:>8} GB/s", flush=True)


def run(bench, shape):
  hidden, heads, ffn, batches = SHAPES[shape]
  dim = hidden // heads
  wide = bench.random(batches[-1], ffn)
  other = torch.empty_like(wide)
  bench.row("copy", f"MiB={wide.nbytes >> 20} bf16", lambda: other.copy_(wide), 0, 2 * wide.nbytes)
  for m in batches:
    for n, k in ((hidden, hidden), (ffn, hidden), (hidden, ffn)):
      x, w, dy = bench.random(m, k), bench.random(n, k), bench.random(m, n)
      name, moved = f"M={m} N={n} K={k} bf16", x.nbytes + w.nbytes + dy.nbytes
      bench.row("linear_forward", name, lambda: F.linear(x, w), 2.0 * m * n * k, moved)
      bench.row("linear_backward_input", name, lambda: dy @ w, 2.0 * m * n * k, moved)
    for kv in (heads, max(1, heads // 4)):
      q, k, v = bench.random(1, heads, m, dim), bench.random(1, kv, m, dim), bench.random(1, kv, m, dim)
      name, flops = f"M={m} H={heads} KV={kv} D={dim} bf16", 2.0 * 2 * m * (m + 1) / 2 * heads * dim
      moved = 2 * q.nbytes + k.nbytes + v.nbytes

      def attend():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv != heads)

      bench.row("attention_forward", name, attend, flops, moved)
      for t in (q, k, v):
        t.requires_grad_(True)
      o = attend()
      dout = torch.randn_like(o)
      bench.row("attention_backward", name,
                lambda: torch.autograd.grad(o, (q, k, v), dout, retain_graph=True), flops * 5 / 2, 2 * moved + o.nbytes)
  x, w = bench.random(batches[-1], hidden), bench.random(hidden)
  bench.row("rmsnorm_forward", f"M={batches[-1]} C={hidden} bf16",
            lambda: F.rms_norm(x, (hidden,), w, 1e-5), 0, 2 * x.nbytes)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("out")
  parser.add_argument("--shape", default="7b", choices=SHAPES)
  parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
  for name in ("date", "commit", "version"):
    parser.add_argument("--" + name, default="")
  args = parser.parse_args()
  torch.manual_seed(1)
  run(Bench(args), args.shape)


if __name__ == "__main__":
  main()
