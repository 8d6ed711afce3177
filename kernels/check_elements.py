"""Element-wise ops and rows without a sum: see check_rows.py."""
import math

import numpy as np
from rows import COUNTS, HALVES, ROWS, SKEWS, WIDTHS, flat_grid, half, rows_grid, same, share

F32 = 2.0**-24
TINY = 2.0**-119  # e^x overflows f32 where act(g) is below 2^-126 of g, up and dy together up to 2^7: 0 is right enough
erf = np.vectorize(math.erf)
erfc = np.vectorize(math.erfc)


def embedding(driver, entry):
  t, rng = half(entry), np.random.default_rng(1)
  for C in WIDTHS:
    for M in ROWS:
      for skew in SKEWS:
        table, values = t.normal(rng, (11, C))
        ids = rng.integers(0, 11, M).astype(np.int32)
        scale = np.float32(1.7)
        got = driver.launch(entry, rows_grid(entry, M), skew, out=t.empty((M, C)), ids=ids, table=table, M=M, C=C, V=11,
                            scale=scale)
        yield f"{M}x{C}+{skew}", same(got["out"], t.bits(np.float32(values[ids]) * scale))
  got = driver.launch(entry, rows_grid(entry, 2), out=t.empty((2, 8)), ids=np.array([-1, 11], np.int32),
                      table=t.bits(np.ones((11, 8))), M=2, C=8, V=11, scale=1.0)
  yield "ids outside", 0.0 if np.isnan(t.wide(got["out"])).all() else np.inf


def rope(driver, entry):
  t, rng, sign = half(entry), np.random.default_rng(2), 1 if "fwd" in entry["op"] else -1
  names = [p["name"] for p in entry["params"][:2]]
  for M, H, KV, D, half_dims in ((1, 1, 1, 2, 1), (3, 2, 1, 64, 32), (5, 3, 3, 96, 48), (7, 1, 1, 100, 50),
                                 (33, 4, 2, 128, 32), (2, 5, 1, 256, 128), (9, 2, 2, 24, 8), (1, 3, 1, 20, 8)):
    for skew in SKEWS:
      (q, of_q), (k, of_k) = t.normal(rng, (M, H, D)), t.normal(rng, (M, KV, D))
      angle = rng.uniform(0, 7, (40, half_dims))
      cos, sin = (1.1 * np.cos(angle)).astype(np.float32), (1.1 * np.sin(angle)).astype(np.float32)
      positions = rng.integers(0, 40, M).astype(np.int32)
      got = driver.launch(entry, flat_grid(entry, M * (H + KV) * half_dims), skew, cos=cos, sin=sin,
                          positions=positions, M=M, H=H, KV=KV, D=D, half=half_dims, **dict(zip(names, (q, k))))
      c, s = cos[positions][:, None].astype(np.float64), sign * sin[positions][:, None].astype(np.float64)
      for name, v in zip(names, (of_q, of_k)):
        a, b = v[..., :half_dims], v[..., half_dims:2 * half_dims]
        exact = np.concatenate([a * c - b * s, b * c + a * s, v[..., 2 * half_dims:]], -1)
        # one rounding to T; two products and a sum in f32 of terms up to 5
        yield f"{name} {M}x{H}+{KV}x{D} {half_dims}+{skew}", share(t.wide(got[name]), exact, t.unit, 10 * F32 + t.step)


def activation(kind, g):
  """act(g) / g and act'(g)."""
  if kind == 0:
    s = 1 / (1 + np.exp(-g))
    return s, s * (1 + g * (1 - s))
  if kind == 1:
    slope = 2 * math.sqrt(2 / math.pi)
    s = 1 / (1 + np.exp(np.minimum(-slope * (g + 0.044715 * g**3), 700)))
    return s, s + g * s * (1 - s) * slope * (1 + 3 * 0.044715 * g * g)
  cdf = 0.5 * erfc(-g / math.sqrt(2))
  return cdf, cdf + g * np.exp(-g * g / 2) / math.sqrt(2 * math.pi)


def gated_inputs(t, rng, n):
  gate = 3 * rng.standard_normal(n)
  gate[:min(n, 5)] = (0, -30, 30, -4.5, 4.5)[:min(n, 5)]
  return (t.bits(gate), t.rounded(gate)), t.normal(rng, n), t.normal(rng, n)


def gated_forward(driver, entry):
  t, rng = half(entry), np.random.default_rng(3)
  for n in COUNTS:
    for kind in range(3):
      for skew in SKEWS:
        (gate, g), (up, u), _ = gated_inputs(t, rng, n)
        exact = g * activation(kind, g)[0] * u
        arguments = dict(gate=gate, up=up, n=n, activation=kind)
        got = driver.launch(entry, flat_grid(entry, n), skew, y=t.empty(n), **arguments)["y"]
        # one rounding; the exponential's argument is rounded in f32: 8 ulp of it times its size, up to 30
        yield f"{n} act {kind}+{skew}", share(t.wide(got), exact, t.unit + 300 * F32, t.step + TINY)
        for alias in ("gate", "up"):
          again = driver.launch(entry, flat_grid(entry, n), skew, y=alias, **arguments)[alias]
          yield f"{n} act {kind}+{skew} y = {alias}", same(again, got)


def gated_backward(driver, entry):
  t, rng = half(entry), np.random.default_rng(4)
  for n in COUNTS:
    for kind in range(3):
      for skew in SKEWS:
        (gate, g), (up, u), (dy, d) = gated_inputs(t, rng, n)
        cdf, slope = activation(kind, g)
        arguments = dict(dy=dy, gate=gate, up=up, n=n, activation=kind)
        got = driver.launch(entry, flat_grid(entry, n), skew, dgate=t.empty(n), dup=t.empty(n), **arguments)
        yield f"dup {n} act {kind}+{skew}", share(t.wide(got["dup"]), d * g * cdf, t.unit + 300 * F32, t.step + TINY)
        # act' has terms of up to 1 that cancel near its zero
        yield (f"dgate {n} act {kind}+{skew}",
               share(t.wide(got["dgate"]), d * u * slope, t.unit + 300 * F32, 16 * F32 * np.abs(d * u).max() + t.step))
        for dgate, dup in (("gate", "up"), ("gate", "dy")):
          again = driver.launch(entry, flat_grid(entry, n), skew, dgate=dgate, dup=dup, **arguments)
          yield f"{n} act {kind} in place", same(again[dgate], got["dgate"]) + same(again[dup], got["dup"])


def residual_forward(driver, entry):
  t, rng = half(entry), np.random.default_rng(5)
  for n in COUNTS:
    for skew in SKEWS:
      (x, a), (r, b) = t.normal(rng, n), t.normal(rng, n)
      arguments = dict(x=x, r=r, n=n, multiplier=np.float32(0.22))
      got = driver.launch(entry, flat_grid(entry, n), skew, y=t.empty(n), **arguments)["y"]
      # one rounding; the product rounds in f32 before a sum that may cancel
      yield f"{n}+{skew}", share(t.wide(got), a + np.float64(np.float32(0.22)) * b, t.unit + 2 * F32, 4 * F32)
      for alias in ("x", "r"):
        again = driver.launch(entry, flat_grid(entry, n), skew, y=alias, **arguments)[alias]
        yield f"{n}+{skew} y = {alias}", same(again, got)


def residual_backward(driver, entry):
  t, rng = half(entry), np.random.default_rng(6)
  for n in COUNTS:
    for skew in SKEWS:
      dy, d = t.normal(rng, n)
      want = t.bits(np.float32(d) * np.float32(0.22))
      arguments = dict(dy=dy, n=n, multiplier=np.float32(0.22))
      for dr, name in ((t.empty(n), "dr"), ("dy", "dy")):
        got = driver.launch(entry, flat_grid(entry, n), skew, dr=dr, **arguments)[name]
        yield f"{n}+{skew} into {name}", same(got, want)


def softcap(driver, entry):
  rng = np.random.default_rng(7)
  for n in COUNTS:
    for cap in (0.0, 30.0):
      for skew in SKEWS:
        z = (40 * rng.standard_normal(n)).astype(np.float32)
        got = driver.launch(entry, flat_grid(entry, n), skew, z=z, n=n, logit_scale=np.float32(0.7), softcap=cap)["z"]
        a = np.float64(np.float32(0.7)) * z
        # the ratio of the scales, the product, tanh to 2 ulp and its argument, the last product
        yield f"{n} cap {cap}+{skew}", share(got, cap * np.tanh(a / cap) if cap else a, 8 * F32)


def cast(driver, entry):
  _, source, target = entry["op"].split("_")
  rng = np.random.default_rng(8)
  for n in COUNTS:
    for skew in SKEWS:
      values = np.exp(rng.uniform(-20, 12, n)) * rng.choice((-1, 1), n)
      special = (0, np.inf, -np.inf, 65519, 65520, 1e-8, 3e38, 2.0**-25, 1 + 2.0**-8, 1 + 2.0**-11)
      values[:min(n, 10)] = special[:min(n, 10)]
      with np.errstate(over="ignore"):
        given = values.astype(np.float32) if source == "f32" else HALVES[source].bits(values)
        wide = given if source == "f32" else HALVES[source].wide(given)
        want = wide.astype(np.float32) if target == "f32" else HALVES[target].bits(wide)
      empty = np.full(n, np.nan, np.float32) if target == "f32" else HALVES[target].empty(n)
      out = driver.launch(entry, flat_grid(entry, n), skew, out=empty, **{"in": given}, n=n)["out"]
      yield f"{n}+{skew}", same(out, want)


def docs_segments(driver, entry):
  for docs in ([0, 1], [0, 5], [0, 0, 3, 3, 10, 300], [0, 255, 256, 257, 600, 600], list(range(0, 1001, 7)) + [1001]):
    docs = np.array(docs, np.int32)
    M = int(docs[-1])
    none = np.full(M, -1, np.int32)
    got = driver.launch(entry, flat_grid(entry, M), seg0=none, seg1=none, docs=docs, ndocs=len(docs) - 1, M=M)
    sizes = np.diff(docs)
    yield f"{M} tokens", same(got["seg0"], np.repeat(docs[:-1], sizes)) + same(got["seg1"], np.repeat(docs[1:], sizes))


def labelled(driver, entry):
  t, rng, gathers = half(entry), np.random.default_rng(9), entry["op"] == "labelled_gather"
  for C in WIDTHS:
    for M, N in ((1, 1), (7, 3), (33, 33), (40, 1)):
      for skew in SKEWS:
        full, _ = t.normal(rng, (M, C))
        block, _ = t.normal(rng, (N, C))
        rows = np.sort(rng.permutation(M)[:N]).astype(np.int32)
        if gathers:
          targets = rng.integers(-100, 100, M).astype(np.int32)
          got = driver.launch(entry, rows_grid(entry, N), skew, block=t.empty((N, C)), labels=np.zeros(N, np.int32),
                              h=full, targets=targets, rows=rows, N=N, M=M, C=C)
          yield f"{N} of {M}x{C}+{skew}", same(got["block"], full[rows]) + same(got["labels"], targets[rows])
        else:
          got = driver.launch(entry, rows_grid(entry, N), skew, dh=full, block=block, rows=rows, N=N, M=M, C=C)
          full[rows] = block
          yield f"{N} of {M}x{C}+{skew}", same(got["dh"], full)
  rows, ones = np.array([-1, 1, 3], np.int32), t.bits(np.ones((3, 8)))
  if gathers:
    got = driver.launch(entry, rows_grid(entry, 3), block=t.empty((3, 8)), labels=np.zeros(3, np.int32), h=ones,
                        targets=np.array([5, 6, 7], np.int32), rows=rows, N=3, M=3, C=8)
    yield "rows outside", same(got["labels"], np.array([-1, 6, -1], np.int32))
  else:
    got = driver.launch(entry, rows_grid(entry, 3), dh=t.bits(np.zeros((3, 8))), block=ones, rows=rows, N=3, M=3, C=8)
    yield "rows outside", same(got["dh"], t.bits(np.arange(3)[:, None] == np.full((3, 8), 1)))


CHECKS = {"embedding_fwd": embedding, "labelled_gather": labelled, "labelled_scatter": labelled, "rope_fwd": rope,
          "rope_bwd": rope, "gated_fwd": gated_forward, "gated_bwd": gated_backward, "residual_fwd": residual_forward,
          "residual_bwd": residual_backward, "softcap_fwd": softcap, "docs_segments": docs_segments,
          **{f"cast_{a}_{b}": cast for a in ("f32", "bf16", "f16") for b in ("f32", "bf16", "f16") if a != b}}
