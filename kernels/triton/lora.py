"""
The skinny products of LoRA, s (d(x) A^T) B^T beside a frozen linear: bf16 operands, tensor cores, f32 sums.

Forward.   d[m,k] = keep[m,k] x[m,k] / (1-p),  keep[m,k] = uniform(seed, m K + k) >= p
           lora_down:  u = d(x) A^T              lora_up:  y = s u B^T, to which the frozen product is added
Backward.  From y = s u B^T: dL/du = s dy B =: e and dB = s dy^T u. From u = d A^T: dA = e^T d and dL/dd = e A. d is
           linear in x, element by element: dx += keep / (1-p) * (e A). The same three kernels make all of it:
             lora_down (transposed):  e = s dy B          lora_up (transposed):  dx += keep / (1-p) * (e A)
             lora_grad:  e^T d(x) for dA;  u^T dy, the transpose of dB, for dB; lora_reduce adds either to its gradient.
Shapes.    lora_down: u (M,R), x (M,K), a (R,K) or transposed (K,R). Grid ceil(M/BM).
           lora_up: y (M,N) = or, with accumulate != 0, +=; u (M,R), b (N,R) or transposed (R,N).
           Grid ceil(M/BM) * ceil(N/BN).
           lora_grad: part (splits,R,K) f32 =, e (M,R), x (M,K); split s takes rows s rows_per_split and on.
           Grid (ceil(K/BN), splits). a and b are f32; ld* are the distances of rows. const R >= R is what is computed;
           the rest of it is masked.
Memory.    bound by x, y or dy: 2 bytes an element read (or written, or both) once. Saved: u besides x; the mask is never
           stored, it is a function of (seed, element). Scratch: part, 4 splits R K bytes.
Rounding.  a and b rounded to bf16 in registers, sums in f32, alpha multiplies the sum, u and y rounded once; an
           old value is added in f32. 1/(1-p) is part of the caller's alpha, so a kept element of x is multiplied as it is.
Mirrors.   src/main/c/lora.c - kernels/cuda/lora.cu (f16; lora_reduce for both) - kernels/check.py

Variants.  `mask`: K or N, R and the ld* are multiples of 8 (f32 rows: 4), 16-byte accesses. `any`: every shape.
"""
import triton
import triton.language as tl
from tile import Entry, kept, params, pointers, tile_of


@triton.jit
def skinny(x, first, offset, a, rank_step, k_step, K, R, dropout, seed,
           RANK: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, ACROSS: tl.constexpr, DROP: tl.constexpr):
  """sum_k d(x)[m,k] a[q,k] for a tile of rows. a[q,k] lies at q rank_step + k k_step, in order of q if ACROSS."""
  q = tl.arange(0, RANK)
  k = tl.arange(0, BK)
  if ACROSS:
    a_tile = a + k[:, None].to(tl.int64) * k_step + q[None, :] * rank_step
  else:
    a_tile = a + k[None, :] * k_step + tl.minimum(q, R - 1)[:, None].to(tl.int64) * rank_step
  x_tile = x + first + offset
  step = tl.cast(k_step, tl.int64) * BK
  acc = tl.zeros((BM, RANK), tl.float32)
  for k0 in range(0, K, BK):
    inside = k < K - k0
    xv = tl.load(x_tile, mask=inside[None, :], other=0.0)
    if DROP:
      xv = tl.where(kept(seed, first + k0, offset, dropout), xv, 0.0)
    if ACROSS:
      av = tl.load(a_tile, mask=inside[:, None] & (q < R)[None, :], other=0.0)
      acc = tl.dot(xv, av.to(tl.bfloat16), acc)
    else:
      av = tl.load(a_tile, mask=inside[None, :], other=0.0)
      acc = tl.dot(xv, tl.trans(av.to(tl.bfloat16)), acc)
    x_tile += BK
    a_tile += step
  return acc


@triton.jit
def lora_down(u, x, a, M, K, R, ldu, lda, alpha, transposed, dropout, seed,
              RANK: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):
  m0 = tl.program_id(0) * BM
  r = tl.arange(0, BM)
  q = tl.arange(0, RANK)
  first = m0.to(tl.int64) * K
  offset = tl.minimum(r, M - 1 - m0)[:, None] * K + tl.arange(0, BK)[None, :]
  # Three loops rather than branches in one: a branch inside would keep the loads from being pipelined.
  if dropout > 0:
    rank_step = tl.where(transposed != 0, 1, lda)
    k_step = tl.where(transposed != 0, lda, 1)
    acc = skinny(x, first, offset, a, rank_step, k_step, K, R, dropout, seed, RANK, BM, BK, True, True)
  elif transposed != 0:
    acc = skinny(x, first, offset, a, 1, lda, K, R, dropout, seed, RANK, BM, BK, True, False)
  else:
    acc = skinny(x, first, offset, a, lda, 1, K, R, dropout, seed, RANK, BM, BK, False, False)
  out = u + m0.to(tl.int64) * ldu + r[:, None] * ldu + q[None, :]
  tl.store(out, (acc * alpha).to(tl.bfloat16), mask=(r < M - m0)[:, None] & (q < R)[None, :])


@triton.jit
def lora_up(y, u, b, M, N, R, ldy, ldu, ldb, alpha, transposed, accumulate, dropout, seed,
            RANK: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GM: tl.constexpr):
  m0, n0 = tile_of(M, N, BM, BN, GM)
  r = tl.arange(0, BM)
  c = tl.arange(0, BN)
  q = tl.arange(0, RANK)
  rank = q < R
  wide = c < N - n0
  inside = (r < M - m0)[:, None] & wide[None, :]
  row = tl.minimum(r, M - 1 - m0)[:, None]
  uv = tl.load(u + m0.to(tl.int64) * ldu + row * ldu + q[None, :], mask=rank[None, :], other=0.0)
  if transposed != 0:
    bv = tl.load(b + n0 + q[:, None].to(tl.int64) * ldb + c[None, :], mask=rank[:, None] & wide[None, :], other=0.0)
  else:
    bv = tl.trans(tl.load(b + n0.to(tl.int64) * ldb + c[:, None] * ldb + q[None, :],
                          mask=wide[:, None] & rank[None, :], other=0.0))
  acc = tl.dot(uv, bv.to(tl.bfloat16))
  if dropout > 0:
    acc = tl.where(kept(seed, m0.to(tl.int64) * N + n0, row * N + c[None, :], dropout), acc, 0.0)
  out = y + m0.to(tl.int64) * ldy + n0 + r[:, None] * ldy + c[None, :]
  old = tl.load(out, mask=inside & (accumulate != 0), other=0.0).to(tl.float32)
  tl.store(out, (old + alpha * acc).to(tl.bfloat16), mask=inside)


@triton.jit
def lora_grad(part, e, x, M, K, R, lde, rows_per_split, dropout, seed,
              RANK: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
  k0 = tl.program_id(0) * BN
  split = tl.program_id(1)
  begin = split * rows_per_split
  end = tl.minimum(M, begin + rows_per_split)
  r = tl.arange(0, BM)
  c = tl.arange(0, BN)
  q = tl.arange(0, RANK)
  rank = q < R
  wide = (c < K - k0)[None, :]
  first = begin.to(tl.int64) * K + k0
  e_tile = e + begin.to(tl.int64) * lde + r[:, None] * lde + q[None, :]
  offset = r[:, None] * K + c[None, :]
  x_tile = x + first + offset
  acc = tl.zeros((RANK, BN), tl.float32)
  if dropout > 0:
    for m0 in range(begin, end, BM):
      rows = (r < end - m0)[:, None]
      ev = tl.load(e_tile, mask=rows & rank[None, :], other=0.0)
      xv = tl.load(x_tile, mask=rows & wide, other=0.0)
      xv = tl.where(kept(seed, first, offset, dropout), xv, 0.0)
      acc = tl.dot(tl.trans(ev), xv, acc)
      e_tile += BM * lde.to(tl.int64)
      x_tile += BM * K.to(tl.int64)
      first += BM * K.to(tl.int64)
  else:
    for m0 in range(begin, end, BM):
      rows = (r < end - m0)[:, None]
      ev = tl.load(e_tile, mask=rows & rank[None, :], other=0.0)
      xv = tl.load(x_tile, mask=rows & wide, other=0.0)
      acc = tl.dot(tl.trans(ev), xv, acc)
      e_tile += BM * lde.to(tl.int64)
      x_tile += BM * K.to(tl.int64)
  out = part + (split.to(tl.int64) * R + q[:, None]) * K + k0 + c[None, :]
  tl.store(out, acc, mask=rank[:, None] & wide)


DROPOUT = " dropout:fp32 seed:u64"
DOWN = params("u:bf16* x:bf16* a:fp32* M:i32 K:i32 R:i32 ldu:i32 lda:i32 alpha:fp32 transposed:i32" + DROPOUT)
UP = params("y:bf16* u:bf16* b:fp32* M:i32 N:i32 R:i32 ldy:i32 ldu:i32 ldb:i32 alpha:fp32 transposed:i32 accumulate:i32"
            + DROPOUT)
GRAD = params("part:fp32* e:bf16* x:bf16* M:i32 K:i32 R:i32 lde:i32 rows_per_split:i32" + DROPOUT)


def entry(kernel, signature, rank, tile, stages, kind, warps=4):
  """Rows of f32 (lda, ldb) need multiples of 4 for 16 bytes, bf16 ones and the dims 8."""
  dims = {d: 4 if d in ("lda", "ldb") else 8 for d in signature if d in "KNR" or d.startswith("ld")}
  divisible = {**pointers(signature), **dims} if kind == "mask" else {}
  size = "x".join(str(tile[name]) for name in tile if name != "GM")
  return Entry(kernel, f"r{rank}_t{size}_{kind}", signature, {"RANK": rank, **tile}, warps, stages, divisible)


ENTRIES = []
for R in (16, 32, 64, 128):
  ENTRIES += [
    entry(lora_down, DOWN, R, {"BM": 32, "BK": 64}, 4 if R < 64 else 3, "mask"),
    entry(lora_down, DOWN, R, {"BM": 16, "BK": 32}, 2, "any"),
    entry(lora_up, UP, R, {"BM": 32, "BN": 128, "GM": 8}, 1, "mask"),
    entry(lora_up, UP, R, {"BM": 32, "BN": 64, "GM": 8}, 1, "any"),
    entry(lora_grad, GRAD, R, {"BM": 64, "BN": 128 if R < 64 else 64}, 3, "mask", 4 if R < 128 else 8),
    entry(lora_grad, GRAD, R, {"BM": 32, "BN": 64}, 2, "any"),
  ]
