"""Generation: products of few rows, attention with a cache. See check_rows.py."""
import numpy as np
from check_quant import Int8Weight, Weight
from rows import SKEWS, half, rows_grid, share

F32 = 2.0**-24


def product_share(t, entry, got, x, w, bias):
  """y = x w^T + bias in f32 sums of K / 32 terms in a lane and a tree, then one rounding unless y is f32."""
  exact, sizes = x @ w.T + bias, np.abs(x) @ np.abs(w).T + np.abs(bias)
  f32 = entry["op"] == "linear_gemv_f32"
  return share(got if f32 else t.wide(got), exact, F32 if f32 else t.unit, (x.shape[1] / 32 + 8) * F32 * sizes + t.step)


def outputs(t, entry, M, N):
  return np.full((M, N), np.nan, np.float32) if entry["op"] == "linear_gemv_f32" else t.empty((M, N))


def linear_gemv(driver, entry):
  t, rng = half(entry), np.random.default_rng(1)
  for M in range(1, 9):
    for N, K in ((1, 1), (7, 24), (33, 100), (9, 256), (17, 1000), (8, 4096)):
      for skew in SKEWS:
        (x, xv), (w, wv) = t.normal(rng, (M, K)), t.normal(rng, (N, K))
        bias = rng.standard_normal(N).astype(np.float32) if M % 2 else None
        for accumulate in (0, 1):
          y, old = outputs(t, entry, M, N), np.zeros((M, N))
          if accumulate:
            y, old = t.normal(rng, (M, N))
            y = old.astype(np.float32) if entry["op"] == "linear_gemv_f32" else y
          got = driver.launch(entry, rows_grid(entry, N), skew, y=y, x=x, w=w, bias=bias, M=M, N=N, K=K,
                              accumulate=accumulate)
          yield (f"{M}x{N}x{K}+{skew} accumulate {accumulate}",
                 product_share(t, entry, got["y"], xv, wv, old + (0 if bias is None else bias)))


def gemv_nf4(driver, entry):
  t, rng = half(entry), np.random.default_rng(2)
  for M in (1, 3, 8):
    for N, K in ((1, 1), (7, 24), (9, 33), (33, 96), (17, 1000), (8, 4096)):
      for nested in (False, True):
        for skew in SKEWS:
          w = Weight(rng, N, K, nested)
          x, xv = t.normal(rng, (M, K))
          bias = rng.standard_normal(N).astype(np.float32)
          got = driver.launch(entry, rows_grid(entry, N), skew, y=outputs(t, entry, M, N), x=x, bias=bias, M=M, N=N,
                              K=K, accumulate=0, **w.arguments())
          yield (f"{M}x{N}x{K} nested {nested}+{skew}",
                 product_share(t, entry, got["y"], xv, t.wide(w.decoded(t.name)), bias))


def gemv_int8(driver, entry):
  t, rng = half(entry), np.random.default_rng(4)
  for M in (1, 3, 8):
    for N, K in ((1, 1), (7, 24), (9, 33), (33, 96), (17, 1000), (8, 4096)):
      for skew in SKEWS:
        w = Int8Weight(rng, N, K)
        x, xv = t.normal(rng, (M, K))
        bias = rng.standard_normal(N).astype(np.float32)
        got = driver.launch(entry, rows_grid(entry, N), skew, y=outputs(t, entry, M, N), x=x, codes=w.codes,
                            scale=w.scale, bias=bias, M=M, N=N, K=K, accumulate=0)
        yield f"{M}x{N}x{K}+{skew}", product_share(t, entry, got["y"], xv, t.wide(w.decoded(t.name)), bias)


def attention_decode(driver, entry):
  t, rng = half(entry), np.random.default_rng(3)
  for M, start, H, KV, D in ((1, 0, 1, 1, 16), (1, 200, 4, 2, 64), (3, 5, 6, 2, 96), (2, 300, 2, 1, 128),
                             (1, 77, 2, 2, 256), (4, 31, 3, 3, 100), (2, 9, 2, 1, 18), (5, 0, 2, 2, 8)):
    for window, cap in ((0, 0.0), (7, 0.0), (0, 5.0)):
      for skew in SKEWS:
        P = start + M
        (q, qv), (k, kv), (v, vv) = t.normal(rng, (M, H, D), 2), t.normal(rng, (P, KV, D)), t.normal(rng, (P, KV, D))
        scale = np.float32(D**-0.5)
        heads = np.arange(H) // (H // KV)
        s = np.float64(scale) * np.einsum("mhd,phd->mhp", qv, kv[:, heads])
        s = cap * np.tanh(s / cap) if cap else s
        at, key = np.arange(start, P)[:, None, None], np.arange(P)
        s = np.where((key <= at) & ((key > at - window) | (window == 0)), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        got = driver.launch(entry, (M, H), skew, o=t.empty((M, H, D)), q=q, kcache=k, vcache=v, start=start, M=M, H=H,
                            KV=KV, D=D, scale=scale, window=window, softcap=cap)["o"]
        exact, sizes = np.einsum("mhp,phd->mhd", p, vv[:, heads]), np.einsum("mhp,phd->mhd", p, np.abs(vv[:, heads]))
        # one rounding; a score of size 10 or so has an error of a few ulps, which is p's relative one
        yield f"{M}+{start} {H}/{KV}x{D} window {window} cap {cap}+{skew}", share(t.wide(got), exact, t.unit,
                                                                                 100 * F32 * sizes + t.step)


CHECKS = {"linear_gemv": linear_gemv, "linear_gemv_f32": linear_gemv, "gemv_nf4": gemv_nf4, "gemv_int8": gemv_int8,
          "attention_decode": attention_decode}
