"""
Causal attention over documents laid end to end, flash style: no matrix of scores ever exists whole.

Forward.   Query i sees the keys j <= i of its document with j > i - w (window w > 0), that is low_i <= j <= i,
           low_i = max(seg0_i, i - w + 1):
             x_ij = scale q_i . k_j    s_ij = c tanh(x_ij / c), or x_ij without a cap
             lse_i = log sum_j exp(s_ij)    p_ij = exp(s_ij - lse_i)    o_i = sum_j p_ij v_j
           A tile of queries walks over tiles of keys with a running maximum t and sum l; a new maximum t' > t
           multiplies l and o by exp(t - t') first. At the end o /= l, lse = t + log l. exp(s) is exp2(s log2 e).
Backward.  o_i is linear in v_j: dv_j = sum_i p_ij do_i, and dL/dp_ij = do_i . v_j =: dp_ij. p_i is a softmax,
             dp_ij / ds_ik = p_ij ([j = k] - p_ik),  so  ds_ij = p_ij (dp_ij - delta_i),  delta_i = do_i . o_i.
           The cap: dx_ij = ds_ij (1 - tanh^2(x_ij / c)). x is bilinear: dq_i = scale sum_j dx_ij k_j,
           dk_j = scale sum_i dx_ij q_i. p comes again from q, k and lse. Two kernels, without atomics: attention_dq
           walks as the forward does; attention_dkv has a tile of keys and walks over the queries of every head of its
           group, on the transposed scores k q^T. Each element has one writer that adds in one order.
Shapes.    q, o, dout, dq (M,H,D)   k, v, dk, dv (M,KV,D)   lse, delta (H,M) f32   seg0, seg1 (M) i32: the first token
           of a token's document and one past its last. Query head h uses key head h / (H / KV). Grid (ceil(M/BM), H)
           forward and dq, (ceil(M/BN), KV) dkv; the longest tiles go first. window 0 is none; entries with CAP want
           softcap > 0. const DP >= D is the head dim that is computed, as DA + (DP - DA), both powers of two: two
           accumulators of a tile keep all warps along its rows (BM >= DA, for dkv BN >= DA), so that a row's softmax
           stays in one warp.
Memory.    saved: o, lse. Reads BM (or BN) rows once and the others ceil(M/BM) times, from L2; nothing of size M x M.
Rounding.  bf16 operands; scores, softmax, sums in f32; p and dx rounded to bf16 before they multiply v, k, q and dout;
           each result rounded once.
Mirrors.   src/main/c/attention.c - kernels/cuda/attention.cu (f16; attention_delta for both) - kernels/check.py

Variants.  D is a multiple of 8: 16-byte accesses. `any`: D is even.
"""
import triton
import triton.language as tl
from tile import Entry, params, pointers

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
# A running maximum that is finite: exp2(-inf - LOWEST) is 0 where exp2(-inf - -inf) would be NaN.
LOWEST = tl.constexpr(-1.0e30)


@triton.jit
def load_rows(at, row0, stride, r, c, M, D):
  """Rows row0 + r, columns c of a matrix; 0 past column D. Rows past the end are the last one: what they give is masked
  or not stored, and a clamp takes fewer registers than a mask. 64 bits to row0, 32 inside the tile."""
  row = tl.minimum(r, M - 1 - row0)[:, None]
  return tl.load(at + row0.to(tl.int64) * stride + row * stride + c[None, :], mask=(c < D)[None, :], other=0.0)


@triton.jit
def store_rows(at, row0, stride, r, c, M, D, x):
  inside = (r < M - row0)[:, None] & (c < D)[None, :]
  tl.store(at + row0.to(tl.int64) * stride + r[:, None] * stride + c[None, :], x.to(tl.bfloat16), mask=inside)


@triton.jit
def tanh(x):
  """Absolute error about 1e-7; +-1 for large x, never NaN."""
  return 1.0 - 2.0 / (tl.exp2(x * (2.0 * LOG2E)) + 1.0)


@triton.jit
def window_of(window, M):
  """The window in tokens; M, which hides nothing, for none."""
  return tl.where((window > 0) & (window < M), window, M)


@triton.jit
def attention_fwd(o, lse, q, k, v, seg0, M, H, KV, D, scale, window, softcap,
                  DP: tl.constexpr, DA: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAP: tl.constexpr):
  DB: tl.constexpr = DP - DA
  m0 = (tl.num_programs(0) - 1 - tl.program_id(0)) * BM
  h = tl.program_id(1)
  q_stride = H * D
  k_stride = KV * D
  q += h * D
  o += h * D
  k += h // (H // KV) * D
  v += h // (H // KV) * D
  r = tl.arange(0, BM)
  rn = tl.arange(0, BN)
  ca = tl.arange(0, DA)
  m = m0 + r
  qa = load_rows(q, m0, q_stride, r, ca, M, D)
  acc_a = tl.zeros((BM, DA), tl.float32)
  if DB > 0:
    cb = DA + tl.arange(0, DB)
    qb = load_rows(q, m0, q_stride, r, cb, M, D)
    acc_b = tl.zeros((BM, DB), tl.float32)
  width = window_of(window, M)
  low = tl.maximum(tl.load(seg0 + m, mask=m < M, other=0), m - width + 1)
  top = tl.full((BM,), LOWEST, tl.float32)
  total = tl.zeros((BM,), tl.float32)
  begin = tl.maximum(tl.load(seg0 + m0), m0 - width + 1)  # low rises with the row
  for n0 in range(begin, tl.minimum(M, m0 + BM), BN):
    n = n0 + rn
    ka = load_rows(k, n0, k_stride, rn, ca, M, D)
    s = tl.dot(qa, tl.trans(ka))
    if DB > 0:
      kb = load_rows(k, n0, k_stride, rn, cb, M, D)
      s = tl.dot(qb, tl.trans(kb), s)
    if CAP:
      s = tanh(s * (scale / softcap)) * (softcap * LOG2E)
    else:
      s = s * (scale * LOG2E)
    s = tl.where((n[None, :] <= m[:, None]) & (n[None, :] >= low[:, None]), s, float("-inf"))
    new_top = tl.maximum(top, tl.max(s, 1))
    p = tl.exp2(s - new_top[:, None])
    shrink = tl.exp2(top - new_top)
    total = total * shrink + tl.sum(p, 1)
    top = new_top
    pv = p.to(tl.bfloat16)
    va = load_rows(v, n0, k_stride, rn, ca, M, D)
    acc_a = tl.dot(pv, va, acc_a * shrink[:, None])
    if DB > 0:
      vb = load_rows(v, n0, k_stride, rn, cb, M, D)
      acc_b = tl.dot(pv, vb, acc_b * shrink[:, None])
  inverse = 1.0 / total
  store_rows(o, m0, q_stride, r, ca, M, D, acc_a * inverse[:, None])
  if DB > 0:
    store_rows(o, m0, q_stride, r, cb, M, D, acc_b * inverse[:, None])
  tl.store(lse + h.to(tl.int64) * M + m, (top + tl.log2(total)) * LN2, mask=m < M)


@triton.jit
def attention_dq(dq, dout, q, k, v, lse, delta, seg0, M, H, KV, D, scale, window, softcap,
                 DP: tl.constexpr, DA: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAP: tl.constexpr):
  DB: tl.constexpr = DP - DA
  m0 = (tl.num_programs(0) - 1 - tl.program_id(0)) * BM
  h = tl.program_id(1)
  q_stride = H * D
  k_stride = KV * D
  q += h * D
  dq += h * D
  dout += h * D
  k += h // (H // KV) * D
  v += h // (H // KV) * D
  r = tl.arange(0, BM)
  rn = tl.arange(0, BN)
  ca = tl.arange(0, DA)
  m = m0 + r
  qa = load_rows(q, m0, q_stride, r, ca, M, D)
  da = load_rows(dout, m0, q_stride, r, ca, M, D)
  acc_a = tl.zeros((BM, DA), tl.float32)
  if DB > 0:
    cb = DA + tl.arange(0, DB)
    qb = load_rows(q, m0, q_stride, r, cb, M, D)
    db = load_rows(dout, m0, q_stride, r, cb, M, D)
    acc_b = tl.zeros((BM, DB), tl.float32)
  width = window_of(window, M)
  low = tl.maximum(tl.load(seg0 + m, mask=m < M, other=0), m - width + 1)
  lse2 = tl.load(lse + h.to(tl.int64) * M + m, mask=m < M, other=0.0) * LOG2E
  dot_do = tl.load(delta + h.to(tl.int64) * M + m, mask=m < M, other=0.0)
  begin = tl.maximum(tl.load(seg0 + m0), m0 - width + 1)
  for n0 in range(begin, tl.minimum(M, m0 + BM), BN):
    n = n0 + rn
    ka = load_rows(k, n0, k_stride, rn, ca, M, D)
    va = load_rows(v, n0, k_stride, rn, ca, M, D)
    s = tl.dot(qa, tl.trans(ka))
    dp = tl.dot(da, tl.trans(va))
    if DB > 0:
      kb = load_rows(k, n0, k_stride, rn, cb, M, D)
      vb = load_rows(v, n0, k_stride, rn, cb, M, D)
      s = tl.dot(qb, tl.trans(kb), s)
      dp = tl.dot(db, tl.trans(vb), dp)
    if CAP:
      th = tanh(s * (scale / softcap))
      p = tl.exp2(th * (softcap * LOG2E) - lse2[:, None])
    else:
      p = tl.exp2(s * (scale * LOG2E) - lse2[:, None])
    seen = (n[None, :] <= m[:, None]) & (n[None, :] >= low[:, None])
    ds = tl.where(seen, p * (dp - dot_do[:, None]), 0.0)
    if CAP:
      ds = ds * (1.0 - th * th)
    dx = ds.to(tl.bfloat16)
    acc_a = tl.dot(dx, ka, acc_a)
    if DB > 0:
      acc_b = tl.dot(dx, kb, acc_b)
  store_rows(dq, m0, q_stride, r, ca, M, D, acc_a * scale)
  if DB > 0:
    store_rows(dq, m0, q_stride, r, cb, M, D, acc_b * scale)


@triton.jit
def attention_dkv(dk, dv, dout, q, k, v, lse, delta, seg0, seg1, M, H, KV, D, scale, window, softcap,
                  DP: tl.constexpr, DA: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAP: tl.constexpr):
  DB: tl.constexpr = DP - DA
  n0 = tl.program_id(0) * BN
  kv = tl.program_id(1)
  group = H // KV
  q_stride = H * D
  k_stride = KV * D
  k += kv * D
  v += kv * D
  dk += kv * D
  dv += kv * D
  r = tl.arange(0, BM)
  rn = tl.arange(0, BN)
  ca = tl.arange(0, DA)
  n = n0 + rn
  ka = load_rows(k, n0, k_stride, rn, ca, M, D)
  va = load_rows(v, n0, k_stride, rn, ca, M, D)
  dk_a = tl.zeros((BN, DA), tl.float32)
  dv_a = tl.zeros((BN, DA), tl.float32)
  if DB > 0:
    cb = DA + tl.arange(0, DB)
    kb = load_rows(k, n0, k_stride, rn, cb, M, D)
    vb = load_rows(v, n0, k_stride, rn, cb, M, D)
    dk_b = tl.zeros((BN, DB), tl.float32)
    dv_b = tl.zeros((BN, DB), tl.float32)
  width = window_of(window, M)
  last = tl.minimum(n0 + BN, M) - 1
  end = tl.minimum(tl.load(seg1 + last), last + width)  # one past the last query that sees a key of this tile
  for h in range(kv * group, kv * group + group):
    for m0 in range(n0, end, BM):
      m = m0 + r
      qa = load_rows(q + h * D, m0, q_stride, r, ca, M, D)
      s = tl.dot(ka, tl.trans(qa))
      if DB > 0:
        qb = load_rows(q + h * D, m0, q_stride, r, cb, M, D)
        s = tl.dot(kb, tl.trans(qb), s)
      lse2 = tl.load(lse + h.to(tl.int64) * M + m, mask=m < end, other=0.0) * LOG2E
      low = tl.maximum(tl.load(seg0 + m, mask=m < end, other=2147483647), m - width + 1)
      if CAP:
        th = tanh(s * (scale / softcap))
        p = tl.exp2(th * (softcap * LOG2E) - lse2[None, :])
      else:
        p = tl.exp2(s * (scale * LOG2E) - lse2[None, :])
      p = tl.where((n[:, None] <= m[None, :]) & (n[:, None] >= low[None, :]), p, 0.0)
      pv = p.to(tl.bfloat16)
      da = load_rows(dout + h * D, m0, q_stride, r, ca, M, D)
      dv_a = tl.dot(pv, da, dv_a)
      dp = tl.dot(va, tl.trans(da))
      if DB > 0:
        db = load_rows(dout + h * D, m0, q_stride, r, cb, M, D)
        dv_b = tl.dot(pv, db, dv_b)
        dp = tl.dot(vb, tl.trans(db), dp)
      dot_do = tl.load(delta + h.to(tl.int64) * M + m, mask=m < end, other=0.0)
      ds = p * (dp - dot_do[None, :])
      if CAP:
        ds = ds * (1.0 - th * th)
      dx = ds.to(tl.bfloat16)
      dk_a = tl.dot(dx, qa, dk_a)
      if DB > 0:
        dk_b = tl.dot(dx, qb, dk_b)
  store_rows(dk, n0, k_stride, rn, ca, M, D, dk_a * scale)
  store_rows(dv, n0, k_stride, rn, ca, M, D, dv_a)
  if DB > 0:
    store_rows(dk, n0, k_stride, rn, cb, M, D, dk_b * scale)
    store_rows(dv, n0, k_stride, rn, cb, M, D, dv_b)


DIMS = " M:i32 H:i32 KV:i32 D:i32 scale:fp32 window:i32 softcap:fp32"
SIGNATURES = {
  attention_fwd: params("o:bf16* lse:fp32* q:bf16* k:bf16* v:bf16* seg0:i32*" + DIMS),
  attention_dq: params("dq:bf16* dout:bf16* q:bf16* k:bf16* v:bf16* lse:fp32* delta:fp32* seg0:i32*" + DIMS),
  attention_dkv: params("dk:bf16* dv:bf16* dout:bf16* q:bf16* k:bf16* v:bf16* lse:fp32* delta:fp32* seg0:i32* seg1:i32*"
                        + DIMS)}

# DP -> (DA, BM, BN, warps, stages) of forward, dq and dkv: no spills, and at most the 99 KB of the GeForce cards.
TILES = {
  32: ((32, 64, 32, 4, 3), (32, 64, 32, 4, 2), (32, 32, 64, 4, 2)),
  64: ((64, 64, 64, 4, 3), (64, 64, 64, 4, 2), (64, 32, 128, 8, 1)),
  96: ((64, 128, 32, 8, 3), (64, 64, 32, 4, 3), (64, 32, 128, 8, 1)),
  128: ((64, 64, 32, 4, 3), (64, 64, 32, 4, 2), (128, 64, 64, 8, 1)),
  256: ((256, 64, 64, 8, 1), (256, 32, 32, 4, 2), (256, 32, 32, 8, 1)),
}
# Loads of two elements need more address registers, so smaller tiles.
ANY_TILES = {
  64: ((64, 64, 32, 4, 2), (64, 64, 32, 4, 2), (64, 32, 64, 4, 1)),
  256: ((256, 32, 32, 8, 1), (256, 32, 32, 8, 1), (256, 32, 32, 8, 1)),
}


def entries(dp, tiles, suffix, divisors):
  """The six kernels of a head dim: forward, dq and dkv, without and with a softcap."""
  for (kernel, signature), (da, bm, bn, warps, stages) in zip(SIGNATURES.items(), tiles, strict=True):
    divisible = {**pointers(signature, divisors["pointer"]), "D": divisors["D"]}
    for cap in (0, 1):
      consts = {"DP": dp, "DA": da, "BM": bm, "BN": bn, "CAP": cap}
      yield Entry(kernel, f"d{dp}{suffix}" + "_cap" * cap, signature, consts, warps, stages, divisible)


ENTRIES = [e for dp, tiles in TILES.items() for e in entries(dp, tiles, "", {"pointer": 16, "D": 8})]
ENTRIES += [e for dp, tiles in ANY_TILES.items() for e in entries(dp, tiles, "_any", {"pointer": 4, "D": 2})]
