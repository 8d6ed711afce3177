"""Ops with sums over rows or whole tensors: see check_rows.py."""
import numpy as np
from rows import COUNTS, HALVES, ROWS, SKEWS, WIDTHS, flat_grid, half, rows_grid, same, share

F32 = 2.0**-24


def norm_case(t, rng, rows, C, offset):
  """x and its values, w, rstd in float64."""
  x, v = t.normal(rng, (rows, C))
  w = (0.3 * rng.standard_normal(C) + (0 if offset else 1)).astype(np.float32)
  return x, v, w, 1 / np.sqrt((v * v).mean(1, keepdims=True) + 1e-5)


def rmsnorm_forward(driver, entry):
  t, rng = half(entry), np.random.default_rng(1)
  for C in WIDTHS:
    for rows in ROWS:
      for offset in (0.0, 1.0):
        for skew in SKEWS:
          x, v, w, r = norm_case(t, rng, rows, C, offset)
          arguments = dict(x=x, w=w, rows=rows, C=C, eps=np.float32(1e-5), offset=offset)
          got = driver.launch(entry, rows_grid(entry, rows), skew, y=t.empty((rows, C)),
                              rstd=np.full(rows, np.nan, np.float32), **arguments)
          # the sum in f32 over C / lanes terms in a row: at most 16 here, then a tree; root and quotient
          yield f"rstd {rows}x{C} offset {offset}+{skew}", share(got["rstd"], r[:, 0], 16 * F32)
          allowed = t.unit + 20 * F32  # one rounding to T
          exact = v * r * (w.astype(np.float64) + offset)
          yield f"y {rows}x{C} offset {offset}+{skew}", share(t.wide(got["y"]), exact, allowed, t.step)
          again = driver.launch(entry, rows_grid(entry, rows), skew, y="x", rstd=np.zeros(rows, np.float32),
                                **arguments)
          yield f"y = x {rows}x{C} offset {offset}+{skew}", same(again["x"], got["y"])


def residual_rmsnorm_forward(driver, entry):
  t, rng = half(entry), np.random.default_rng(7)
  multiplier = np.float32(0.22)
  for C in WIDTHS:
    for rows in ROWS:
      for offset in (0.0, 1.0):
        for skew in SKEWS:
          (a, of_a), (b, of_b) = t.normal(rng, (rows, C)), t.normal(rng, (rows, C))
          w = (0.3 * rng.standard_normal(C) + (0 if offset else 1)).astype(np.float32)
          arguments = dict(a=a, b=b, multiplier=multiplier, w=w, rows=rows, C=C, eps=np.float32(1e-5), offset=offset)
          y, rstd = t.empty((rows, C)), np.full(rows, np.nan, np.float32)
          got = driver.launch(entry, rows_grid(entry, rows), skew, y=y, rstd=rstd, x=t.empty((rows, C)), **arguments)
          case = f"{rows}x{C} offset {offset}+{skew}"
          # one rounding; the product rounds in f32 before a sum that may cancel
          yield f"x {case}", share(t.wide(got["x"]), of_a + np.float64(multiplier) * of_b, t.unit + 2 * F32, 4 * F32)
          v = t.wide(got["x"]).astype(np.float64)
          r = 1 / np.sqrt((v * v).mean(1, keepdims=True) + 1e-5)
          yield f"rstd {case}", share(got["rstd"], r[:, 0], 16 * F32)
          exact = v * r * (w.astype(np.float64) + offset)
          yield f"y {case}", share(t.wide(got["y"]), exact, t.unit + 20 * F32, t.step)
          for alias in ("a", "b"):
            again = driver.launch(entry, rows_grid(entry, rows), skew, y=y, rstd=rstd, x=alias, **arguments)
            yield f"x = {alias} {case}", same(again[alias], got["x"]) + same(again["y"], got["y"])


def rmsnorm_backward(driver, entry):
  t, rng = half(entry), np.random.default_rng(2)
  for C in WIDTHS:
    for rows in ROWS:
      for offset, accumulate in ((0.0, 0), (1.0, 1), (0.0, 1)):
        for skew in SKEWS:
          x, v, w, r = norm_case(t, rng, rows, C, offset)
          (dy, d), (dx, base) = t.normal(rng, (rows, C)), t.normal(rng, (rows, C))
          rstd = r[:, 0].astype(np.float32)
          g, r = w.astype(np.float64) + offset, rstd[:, None].astype(np.float64)
          s = (d * g * v).sum(1, keepdims=True)
          gradient = r * g * d - v * r**3 * s / C
          arguments = dict(dy=dy, x=x, w=w, rstd=rstd, rows=rows, C=C, offset=offset, accumulate=accumulate)
          got = driver.launch(entry, rows_grid(entry, rows), skew, dx=dx, **arguments)["dx"]
          # one rounding; the f32 terms r g dy and x r^3 s / C may cancel, s sums C terms whose sizes add up
          terms = np.abs(r * g * d) + np.abs(v * r**3) / C * np.abs(d * g * v).sum(1, keepdims=True) + np.abs(base)
          yield (f"{rows}x{C} offset {offset} accumulate {accumulate}+{skew}",
                 share(t.wide(got), gradient + (base if accumulate else 0), t.unit, 24 * F32 * terms + t.step))
          again = driver.launch(entry, rows_grid(entry, rows), skew, dx="dy", **{**arguments, "accumulate": 0})["dy"]
          yield (f"dx = dy {rows}x{C} offset {offset}+{skew}",
                 share(t.wide(again), gradient, t.unit, 24 * F32 * terms + t.step))


def sum_squares(driver, entry):
  rng, parts = np.random.default_rng(3), entry["consts"]["PARTS"]
  for n in COUNTS + (3_000_000,):
    for skew in SKEWS:
      x = np.exp(rng.uniform(-40, 40, n)).astype(np.float32)
      got = driver.launch(entry, (parts,), skew, partial=np.full(parts, np.nan), x=x, n=n)["partial"]
      yield f"{n}+{skew}", share(got.sum(), (x.astype(np.float64)**2).sum(), 1e-14)


def count_nonfinite(driver, entry):
  rng, parts, dtype = np.random.default_rng(4), entry["consts"]["PARTS"], entry["dtype"]
  for n in COUNTS:
    for skew in SKEWS:
      x = rng.standard_normal(n)
      bad = rng.random(n) < 0.1
      x[bad] = rng.choice((np.nan, np.inf, -np.inf), bad.sum())
      x = x.astype(np.float32) if dtype == "f32" else HALVES[dtype].bits(x)
      got = driver.launch(entry, (parts,), skew, partial=np.full(parts, np.nan), x=x, n=n)["partial"]
      yield f"{n}+{skew}", share(got.sum(), bad.sum(), 0)


def sum_partials(driver, entry):
  rng = np.random.default_rng(5)
  for n in (1, 7, 256, 1000):
    x = rng.standard_normal(n)
    name, count = (entry["params"][1]["name"], entry["params"][2]["name"])
    x = x if name == "partial" else x.astype(np.float32)
    got = driver.launch(entry, (1,), out=np.array([3.0]), **{name: x, count: n})["out"]
    yield f"{n}", share(got, 3 + x.astype(np.float64).sum(), 0, 1e-12)


def attention_delta(driver, entry):
  t, rng = half(entry), np.random.default_rng(6)
  for M, H, D in ((1, 1, 16), (7, 3, 64), (33, 2, 96), (5, 4, 128), (9, 1, 256), (3, 5, 100), (2, 2, 18)):
    for skew in SKEWS:
      (dout, d), (o, v) = t.normal(rng, (M, H, D)), t.normal(rng, (M, H, D))
      got = driver.launch(entry, rows_grid(entry, M * H), skew, delta=np.full((H, M), np.nan, np.float32), dout=dout,
                          o=o, M=M, H=H, D=D)["delta"]
      # sums of at most 32 terms in a lane, then of 8 lanes
      yield f"{M}x{H}x{D}+{skew}", share(got, (d * v).sum(-1).T, 0, 36 * F32 * np.abs(d * v).sum(-1).T)


def lora_reduce(driver, entry):
  rng = np.random.default_rng(7)
  for splits, K, R in ((1, 24, 8), (3, 100, 16), (8, 4096, 16), (5, 1, 1), (64, 33, 5)):
    for transposed in (0, 1):
      part = rng.standard_normal((splits, R, K)).astype(np.float32)
      rows, columns = (K, R) if transposed else (R, K)
      g = rng.standard_normal((rows, columns + 3)).astype(np.float32)
      got = driver.launch(entry, flat_grid(entry, R * K), g=g, part=part, splits=splits, K=K, R=R, ldg=columns + 3,
                          alpha=np.float32(0.7), transposed=transposed)["g"]
      total, sizes = part.astype(np.float64).sum(0), np.abs(part).sum(0)
      total, sizes = (total.T, sizes.T) if transposed else (total, sizes)
      exact = g[:, :columns] + np.float64(np.float32(0.7)) * total
      yield f"{splits}x{R}x{K} transposed {transposed}", share(got[:, :columns], exact, F32, (splits + 2) * F32 * sizes)
      yield "gap", same(got[:, columns:], g[:, columns:])


def ce_rows(driver, entry):
  t, rng = half(entry), np.random.default_rng(8)
  for M, V in ((1, 1), (3, 24), (7, 1023), (5, 4096), (2, 32003), (33, 257)):
    for scale, cap, smoothing in ((1.0, 0.0, 0.0), (0.5, 30.0, 0.0), (1.0, 0.0, 0.1), (2.0, 5.0, 0.2)):
      for skew in SKEWS:
        z, v = t.normal(rng, (M, V), 4)
        targets = rng.integers(0, V, M).astype(np.int32)
        targets[M // 2] = -100 if M > 1 else targets[0]
        if M > 2:  # a target the model is sure of, where p - 1 cancels
          z[0, targets[0]] = t.bits([40.0])[0]
          v[0, targets[0]] = 40.0
        arguments = dict(targets=targets, M=M, V=V, logit_scale=scale, softcap=cap, inv_count=np.float32(0.01),
                         label_smoothing=np.float32(smoothing))
        a = scale * v
        s = cap * np.tanh(a / cap) if cap else a
        top = s.max(1, keepdims=True)
        lse = top + np.log(np.exp(s - top).sum(1, keepdims=True))
        e, counted = np.float64(np.float32(smoothing)), (targets != -100)[:, None]
        hot = np.arange(V) == targets[:, None]
        picked = np.where(counted, np.take_along_axis(s, np.maximum(targets, 0)[:, None], 1), 0)
        loss = np.where(counted, lse - (1 - e) * picked - e * s.mean(1, keepdims=True), 0)[:, 0]
        slope = 1 - (s / cap)**2 if cap else 1.0
        p = np.exp(s - lse)
        p_hot = np.expm1(s - lse) + e - e / V
        dz = np.float64(np.float32(0.01)) * scale * slope * np.where(hot, p_hot, p - e / V) * counted
        for want in (0, 1):
          got = driver.launch(entry, (M,), skew, z=z, loss=np.full(M, np.nan, np.float32), want_grad=want, **arguments)
          # lse and s to an ulp of their sizes, up to 40; the sum's relative error enters through its logarithm
          yield (f"loss {M}x{V} {scale} {cap} {smoothing}+{skew}",
                 share(got["loss"], loss, 8 * F32, 8 * F32 * np.abs(s).max()))
          if not want:
            yield "z unchanged", same(got["z"], z)
            continue
          # one rounding; exp of an argument with an error of a few ulps of up to 80; p - e/V and the cap's slope cancel
          sizes = 0.01 * scale * (p + np.where(hot, 1 - np.exp(s - lse), 0) + e)
          yield (f"dz {M}x{V} {scale} {cap} {smoothing}+{skew}",
                 share(t.wide(got["z"]), dz, t.unit + 500 * F32, 20 * F32 * sizes + t.step + 2.0**-120))
  z = t.bits(np.ones((2, 8)))
  got = driver.launch(entry, (2,), z=z, targets=np.array([-7, 8], np.int32), loss=np.zeros(2, np.float32), M=2, V=8,
                      logit_scale=1.0, softcap=0.0, inv_count=1.0, label_smoothing=0.0, want_grad=1)
  yield "labels outside", 0.0 if np.isnan(got["loss"]).all() and not got["z"].any() else np.inf


CHECKS = {"rmsnorm_fwd": rmsnorm_forward, "rmsnorm_bwd": rmsnorm_backward,
          "residual_rmsnorm_fwd": residual_rmsnorm_forward, "sum_squares": sum_squares,
          "count_nonfinite": count_nonfinite, "sum_partials": sum_partials, "sum_rows": sum_partials,
          "attention_delta": attention_delta, "lora_reduce": lora_reduce, "ce_rows": ce_rows}
