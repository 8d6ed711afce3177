"""
y = x W^T + bias and dx = dy W over a bf16 weight, tensor cores, f32 sums.

Forward.   y[m,n] = sum_k x[m,k] W[n,k] + bias[n]. accumulate != 0 adds to what y holds.
Backward.  y is linear in x: dL/dx[m,k] = sum_n dL/dy[m,n] dy[m,n]/dx[m,k] = sum_n dy[m,n] W[n,k], so dx = dy W.
           W and the bias are frozen: no dW. accumulate != 0 adds to what dx holds (q, k and v share one dx; a weight
           that is dequantised slab by slab comes as several products).
Adapter.   R > 0 adds alpha u B^T, forward, or alpha u A, backward, where u there is e = alpha dy B (lora.py): sums begin
           with it, so that y and dx are neither written nor read for the branch's sake. R = 0: u and b are not read.
Slabs.     linear_bwd_slab: W comes as slabs of its rows, dy as the columns that belong to them. The sum of the slabs so
           far lies in `sums` and is what the next slab's begins with: the order and the bits of one product over all
           rows. begin != 0 in the first slab, which reads no sums; end != 0 in the last, which writes dx instead.
Shapes.    x (M,K)   W (N,K), rows ldw apart in the backward   bias (N) f32 or null   y (M,N), rows ldy apart
           dy (M,N), rows lddy apart   dx (M,K), rows lddx apart   sums (M,K) f32
           u (M,R) bf16, rows ldu apart   b f32, rows ldb apart: B (N,R) forward, A (R,K) backward
           Grid: one program a tile, ceil(M/BM) * ceil(N/BN) forward, ceil(M/BM) * ceil(K/BN) backward.
Memory.    a tile reads BM + BN rows of the inner dim: (BM + BN) * K * 2 bytes for 2 BM BN K operations, most of it from
           L2 (tile_of). Saved: nothing besides x. Shared: (BM + BN) * BK * 2 bytes a stage, stages - 1 of them.
Rounding.  b rounded to bf16, products exact, sums in f32, the bias added in f32, one rounding to bf16 (after the sum with
           the old value).
Mirrors.   src/main/c/linear.c - kernels/cuda/linear.cu (f16) - kernels/check.py

Variants.  plain: the inner dim is a multiple of BK, no mask in the loop. `mask`: multiples of 8, 16-byte accesses under
           a mask. `any`: every shape and alignment, element by element.
"""
import triton
import triton.language as tl
from tile import Entry, params, pointers, tile_of


@triton.jit
def branch(u_row, b_tile, b_step, wide, R, alpha, BM: tl.constexpr, BN: tl.constexpr, ACROSS: tl.constexpr):
  """alpha sum_q u[m,q] b[q,n] of a tile, b's rows along n if ACROSS: what its sums begin with."""
  q = tl.arange(0, 16)
  acc = tl.zeros((BM, BN), tl.float32)
  for q0 in tl.range(0, R, 16, num_stages=1):
    ranks = q < R - q0
    uv = tl.load(u_row + q[None, :], mask=ranks[None, :], other=0.0)
    if ACROSS:
      bv = tl.load(b_tile, mask=ranks[:, None] & wide[None, :], other=0.0).to(tl.bfloat16)
    else:
      bv = tl.trans(tl.load(b_tile, mask=wide[:, None] & ranks[None, :], other=0.0).to(tl.bfloat16))
    acc = tl.dot(uv, bv, acc)
    u_row += 16
    b_tile += b_step
  return acc * alpha


@triton.jit
def linear_fwd(y, x, w, bias, u, b, M, N, K, R, ldy, ldu, ldb, alpha, accumulate,
               BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GM: tl.constexpr, EXACT: tl.constexpr):
  m0, n0 = tile_of(M, N, BM, BN, GM)
  r = tl.arange(0, BM)
  c = tl.arange(0, BN)
  k = tl.arange(0, BK)
  # Rows past the end read the last row instead of a mask; the store drops them.
  x_row = tl.minimum(r, M - 1 - m0)[:, None]
  w_row = tl.minimum(c, N - 1 - n0)[:, None]
  x_tile = x + m0.to(tl.int64) * K + x_row * K + k[None, :]
  w_tile = w + n0.to(tl.int64) * K + w_row * K + k[None, :]
  u_row = u + m0.to(tl.int64) * ldu + tl.minimum(r, M - 1 - m0)[:, None] * ldu
  b_tile = b + n0.to(tl.int64) * ldb + c[:, None] * ldb + tl.arange(0, 16)[None, :]
  acc = branch(u_row, b_tile, 16, c < N - n0, R, alpha, BM, BN, False)
  for k0 in range(0, K, BK):
    if EXACT:
      xv = tl.load(x_tile)
      wv = tl.load(w_tile)
    else:
      inside = (k < K - k0)[None, :]
      xv = tl.load(x_tile, mask=inside, other=0.0)
      wv = tl.load(w_tile, mask=inside, other=0.0)
    acc = tl.dot(xv, tl.trans(wv), acc)
    x_tile += BK
    w_tile += BK
  biased = bias.to(tl.int64) != 0
  acc += tl.load(bias + n0 + c, mask=(c < N - n0) & biased, other=0.0)[None, :]
  out = y + m0.to(tl.int64) * ldy + n0 + r[:, None] * ldy + c[None, :]
  inside = (r < M - m0)[:, None] & (c < N - n0)[None, :]
  acc += tl.load(out, mask=inside & (accumulate != 0), other=0.0).to(tl.float32)
  tl.store(out, acc.to(tl.bfloat16), mask=inside)


@triton.jit
def linear_bwd_input(dx, dy, w, u, b, M, N, K, R, lddy, lddx, ldw, ldu, ldb, alpha, accumulate,
                     BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GM: tl.constexpr, EXACT: tl.constexpr):
  m0, k0 = tile_of(M, K, BM, BN, GM)
  r = tl.arange(0, BM)
  c = tl.arange(0, BN)
  n = tl.arange(0, BK)
  wide = (c < K - k0)[None, :]
  dy_tile = dy + m0.to(tl.int64) * lddy + tl.minimum(r, M - 1 - m0)[:, None] * lddy + n[None, :]
  w_tile = w + k0 + n[:, None] * ldw + c[None, :]
  u_row = u + m0.to(tl.int64) * ldu + tl.minimum(r, M - 1 - m0)[:, None] * ldu
  b_tile = b + k0 + tl.arange(0, 16)[:, None] * ldb + c[None, :]
  acc = branch(u_row, b_tile, 16 * ldb.to(tl.int64), c < K - k0, R, alpha, BM, BN, True)
  for n0 in range(0, N, BK):
    if EXACT:
      dyv = tl.load(dy_tile)
      wv = tl.load(w_tile, mask=wide, other=0.0)
    else:
      dyv = tl.load(dy_tile, mask=(n < N - n0)[None, :], other=0.0)
      wv = tl.load(w_tile, mask=(n < N - n0)[:, None] & wide, other=0.0)
    acc = tl.dot(dyv, wv, acc)
    dy_tile += BK
    w_tile += BK * ldw.to(tl.int64)
  out = dx + m0.to(tl.int64) * lddx + k0 + r[:, None] * lddx + c[None, :]
  inside = (r < M - m0)[:, None] & wide
  acc += tl.load(out, mask=inside & (accumulate != 0), other=0.0).to(tl.float32)
  tl.store(out, acc.to(tl.bfloat16), mask=inside)


@triton.jit
def linear_bwd_slab(dx, sums, dy, w, M, N, K, begin, end,
                    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GM: tl.constexpr, EXACT: tl.constexpr):
  m0, k0 = tile_of(M, K, BM, BN, GM)
  r = tl.arange(0, BM)
  c = tl.arange(0, BN)
  n = tl.arange(0, BK)
  wide = (c < K - k0)[None, :]
  inside = (r < M - m0)[:, None] & wide
  at = m0.to(tl.int64) * K + k0 + r[:, None] * K + c[None, :]
  dy_tile = dy + m0.to(tl.int64) * N + tl.minimum(r, M - 1 - m0)[:, None] * N + n[None, :]
  w_tile = w + k0 + n[:, None] * K + c[None, :]
  acc = tl.load(sums + at, mask=inside & (begin == 0), other=0.0)
  for n0 in range(0, N, BK):
    if EXACT:
      a = tl.load(dy_tile)
      b = tl.load(w_tile, mask=wide, other=0.0)
    else:
      a = tl.load(dy_tile, mask=(n < N - n0)[None, :], other=0.0)
      b = tl.load(w_tile, mask=(n < N - n0)[:, None] & wide, other=0.0)
    acc = tl.dot(a, b, acc)
    dy_tile += BK
    w_tile += BK * K.to(tl.int64)
  tl.store(sums + at, acc, mask=inside & (end == 0))
  tl.store(dx + at, acc.to(tl.bfloat16), mask=inside & (end != 0))


FORWARD = params("y:bf16* x:bf16* w:bf16* bias:fp32* u:bf16* b:fp32* M:i32 N:i32 K:i32 R:i32 ldy:i32 ldu:i32 ldb:i32"
                 " alpha:fp32 accumulate:i32")
BACKWARD = params("dx:bf16* dy:bf16* w:bf16* u:bf16* b:fp32* M:i32 N:i32 K:i32 R:i32 lddy:i32 lddx:i32 ldw:i32 ldu:i32"
                  " ldb:i32 alpha:fp32 accumulate:i32")
SLAB = params("dx:bf16* sums:fp32* dy:bf16* w:bf16* M:i32 N:i32 K:i32 begin:i32 end:i32")


def entry(kernel, signature, inner, tile, warps, stages, kind):
  bm, bn, bk = tile
  dims = [d for d in signature if d[0] in "NKl"]
  divisible = {**pointers(signature), **{d: 8 for d in dims}} if kind != "any" else {}
  if kind == "exact":
    divisible[inner] = bk
  suffix = "" if kind == "exact" else "_" + kind
  return Entry(kernel, f"t{bm}x{bn}x{bk}{suffix}", signature,
               {"BM": bm, "BN": bn, "BK": bk, "GM": 8, "EXACT": int(kind == "exact")}, warps, stages, divisible)


# (BM, BN, BK), warps, stages, kind. Every one fits the 99 KB of the GeForce cards.
TILES = [
    ((128, 256, 32), 8, 4, "exact"),
    ((128, 128, 32), 4, 4, "exact"),
    ((64, 128, 64), 4, 3, "exact"),
    ((64, 64, 32), 4, 4, "mask"),
    ((32, 64, 32), 4, 4, "mask"),
    ((16, 64, 64), 4, 4, "mask"),
    ((64, 64, 32), 4, 2, "any"),
    ((16, 64, 32), 4, 2, "any"),
]
# With a tile of f32 sums to load beside its addresses, 128 x 128 takes eight warps to stay without spills.
SLAB_TILES = [((128, 128, 32), 8, 4, "exact"), TILES[3], *TILES[5:]]
ENTRIES = [entry(linear_fwd, FORWARD, "K", *t) for t in TILES] + [
    entry(linear_bwd_input, BACKWARD, "N", *t) for t in TILES] + [
    entry(linear_bwd_slab, SLAB, "N", *t) for t in SLAB_TILES]
