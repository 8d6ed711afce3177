"""attention_fwd, attention_dq and attention_dkv against numpy: see check.py."""
import functools

import numpy as np
from check_linear import NAN, compare
from driver import bf16, rounded, wide

# documents, heads, kv heads, window
SHAPES = [([1], 2, 1, 0), ([7], 2, 2, 0), ([33], 4, 2, 0), ([1, 70, 129], 4, 2, 0), ([40, 1, 89], 2, 1, 37),
          ([150], 3, 1, 64)]
DIMS = (16, 24, 64, 80, 96, 128, 200, 256)
ANY_DIMS = (18, 62, 64, 90, 254)
CAP = 5.0


def same(x):
  return x


def attention(q, k, v, dout, low, scale, cap, r):
  """All results in float64, every intermediate matrix through r: what is exact, or what a naive bf16 one makes."""
  M, H, D = q.shape
  group = H // k.shape[1]
  i = np.arange(M)
  seen = (i[None] <= i[:, None]) & (i[None] >= low[:, None])
  o, lse, delta = np.zeros(q.shape), np.zeros((H, M)), np.zeros((H, M))
  dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(k.shape)
  for h in range(H):
    kh, vh = k[:, h // group], v[:, h // group]
    s = r(scale * r(q[:, h] @ kh.T))
    th = np.tanh(s / cap) if cap else 0
    s = np.where(seen, r(cap * th) if cap else s, -np.inf)
    top = s.max(1, keepdims=True)
    total = np.exp(s - top).sum(1, keepdims=True)
    p = r(np.exp(s - top) / total)
    lse[h] = (top + np.log(total))[:, 0]
    o[:, h] = p @ vh
    dp = r(dout[:, h] @ vh.T)
    delta[h] = (dout[:, h] * r(o[:, h])).sum(1)
    ds = r(p * (dp - delta[h][:, None]) * (1 - th * th))
    dq[:, h] = r(ds @ kh) * scale
    dk[:, h // group] += r(ds.T @ q[:, h]) * scale
    dv[:, h // group] += r(p.T @ dout[:, h])
  return {"o": r(o), "lse": lse, "delta": delta, "dq": r(dq), "dk": r(dk), "dv": r(dv)}


@functools.cache
def problem(shape, D, cap):
  """Inputs, exact and naive results of one case; shape indexes SHAPES."""
  documents, H, KV, window = SHAPES[shape]
  rng = np.random.default_rng(100 * shape + D)
  M, scale = sum(documents), D**-0.5
  q, k, v, dout = (bf16(a * rng.standard_normal((M, h, D))) for a, h in ((1.5, H), (1.5, KV), (1, KV), (1, H)))
  ends = np.cumsum(documents)
  seg1 = np.repeat(ends, documents).astype(np.int32)
  seg0 = np.repeat(ends - documents, documents).astype(np.int32)
  low = np.maximum(seg0, np.arange(M) - window + 1) if window else seg0
  values = [wide(x) for x in (q, k, v, dout)]
  exact, naive = (attention(*values, low, scale, cap, r) for r in (same, rounded))
  dims = {"M": M, "H": H, "KV": KV, "D": D, "scale": scale, "window": window, "softcap": cap}
  return {"q": q, "k": k, "v": v, "dout": dout, "seg0": seg0, "seg1": seg1}, dims, exact, naive


def cases(entry):
  """(name, inputs, dims, exact, naive) of the head dims an entry takes: the largest that fit its DP."""
  c, step = entry["consts"], entry["divisible"]["D"]
  dims = [D for D in (DIMS if step == 8 else ANY_DIMS) if D <= c["DP"]][-4:]
  for n, D in enumerate(dims):
    shapes = range(len(SHAPES)) if n == len(dims) - 1 else (3, 4)
    for shape in shapes:
      documents, H, KV, window = SHAPES[shape]
      yield f"D={D} docs={documents} H={H}/{KV} window={window}", *problem(shape, D, CAP * c["CAP"])


def forward(driver, entry):
  for case, x, dims, exact, naive in cases(entry):
    M, H, D = dims["M"], dims["H"], dims["D"]
    got = driver.launch(entry, (-(-M // entry["consts"]["BM"]), H), o=np.full((M, H, D), NAN),
                        lse=np.full((H, M), np.float32("nan")), q=x["q"], k=x["k"], v=x["v"], seg0=x["seg0"], **dims)
    yield f"o {case}", *compare(wide(got["o"]), exact["o"], naive["o"], 2)
    # lse is f32 throughout, so it gets a bound of its own: 16 f32 roundings of its size.
    yield f"lse {case}", np.abs(got["lse"] - exact["lse"]).max(), 2.0**-20 * max(1, np.abs(exact["lse"]).max())


def gradients(driver, entry):
  for case, x, dims, exact, naive in cases(entry):
    M, H, KV, D = dims["M"], dims["H"], dims["KV"], dims["D"]
    inputs = {name: x[name] for name in ("q", "k", "v", "dout", "seg0")}
    inputs |= {"lse": exact["lse"].astype(np.float32), "delta": exact["delta"].astype(np.float32)}
    if entry["op"] == "attention_dq":
      grid, out = (-(-M // entry["consts"]["BM"]), H), {"dq": np.full((M, H, D), NAN)}
    else:
      grid, out = (-(-M // entry["consts"]["BN"]), KV), {n: np.full((M, KV, D), NAN) for n in ("dk", "dv")}
      inputs["seg1"] = x["seg1"]
    got = driver.launch(entry, grid, **out, **inputs, **dims)
    for name in out:
      yield f"{name} {case}", *compare(wide(got[name]), exact[name], naive[name], 3)


CHECKS = {"attention_fwd": forward, "attention_dq": gradients, "attention_dkv": gradients}
