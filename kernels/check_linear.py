"""linear_fwd, linear_bwd_input and linear_bwd_slab against numpy: see check.py."""
import numpy as np
from driver import bf16, rounded, wide

SHAPES = [(1, 8, 32), (7, 64, 64), (33, 136, 96), (130, 264, 320), (48, 520, 160), (150, 33, 70), (5, 17, 15),
          (64, 130, 200), (70, 72, 200), (9, 40, 24)]
NAN = np.uint16(0x7FC0)


def fits(entry, **values):
  """Whether the dims are multiples of what the entry wants."""
  return all(v % entry["divisible"].get(name, 1) == 0 for name, v in values.items())


def matrix(rng, rows, cols, ld=None):
  """A random bf16 matrix whose rows are `ld` apart, NaN between them; and its values."""
  x = np.full((rows, ld or cols), NAN)
  x[:, :cols] = bf16(rng.standard_normal((rows, cols)))
  return x, wide(x[:, :cols])


def compare(got, exact, naive, factor):
  """(worst error, allowed) of a result against float64, from what the naive one makes."""
  return np.abs(got - exact).max(), factor * np.abs(naive - exact).max()


def gap_kept(x, cols):
  """0 when the NaN between the rows is still there."""
  return float((x[:, cols:] != NAN).any()), 0.0


def tiles(entry, M, N):
  c = entry["consts"]
  return (-(-M // c["BM"]) * -(-N // c["BN"]),)


def branch(rng, M, R, rows, cols):
  """u (M,R) and b (rows,cols) of an adapter, R in one of b's dims, with the values that are multiplied; R 0: null."""
  if R == 0:
    return dict(u=None, b=None, R=0, ldu=0, ldb=0, alpha=0.0), None, None
  u, uv = matrix(rng, M, R)
  b = (rng.standard_normal((rows, cols)) / np.sqrt(R)).astype(np.float32)
  return dict(u=u, b=b, R=R, ldu=R, ldb=cols, alpha=0.75), uv, wide(bf16(b))


def forward(driver, entry):
  rng = np.random.default_rng(1)
  for M, N, K in SHAPES:
    for ldy, biased, accumulate, R in ((N, True, 0, 0), (N + 8, False, 0, 16), (N, False, 1, 0), (N + 8, True, 1, 40)):
      if not fits(entry, N=N, K=K, ldy=ldy, ldu=R, ldb=R):
        continue
      (x, xv), (w, wv) = matrix(rng, M, K), matrix(rng, N, K)
      bias = rng.standard_normal(N).astype(np.float32) if biased else None
      y, old = matrix(rng, M, N, ldy) if accumulate else (np.full((M, ldy), NAN), 0)
      adapter, uv, bv = branch(rng, M, R, N, R)
      added = 0.75 * uv @ bv.T if R else 0
      exact = xv @ wv.T + added + (bias if biased else 0) + old
      naive = rounded(rounded(rounded(rounded(xv @ wv.T) + (bias if biased else 0)) + rounded(added)) + old)
      y = driver.launch(entry, tiles(entry, M, N), y=y, x=x, w=w, bias=bias, M=M, N=N, K=K, ldy=ldy,
                        accumulate=accumulate, **adapter)["y"]
      yield f"y {M}x{N}x{K} R {R} accumulate {accumulate}", *compare(wide(y[:, :N]), exact, naive, 2)
      yield f"gap {M}x{N}x{K}", *gap_kept(y, N)


def backward(driver, entry):
  rng = np.random.default_rng(2)
  for M, K, N in SHAPES:
    for gap, accumulate, R in ((0, 0, 0), (8, 1, 0), (0, 0, 16), (8, 1, 40)):
      lddy, lddx, ldw = N + gap, K + gap, K + gap
      if not fits(entry, N=N, K=K, lddy=lddy, lddx=lddx, ldw=ldw, ldu=R, ldb=K if R else 0):
        continue
      (dy, dyv), (w, wv) = matrix(rng, M, N, lddy), matrix(rng, N, K, ldw)
      dx, old = matrix(rng, M, K, lddx) if accumulate else (np.full((M, lddx), NAN), 0)
      adapter, ev, av = branch(rng, M, R, R, K)
      added = 0.75 * ev @ av if R else 0
      exact = dyv @ wv + added + old
      naive = rounded(rounded(rounded(dyv @ wv) + rounded(added)) + old)
      dx = driver.launch(entry, tiles(entry, M, K), dx=dx, dy=dy, w=w, M=M, N=N, K=K, lddy=lddy, lddx=lddx, ldw=ldw,
                         accumulate=accumulate, **adapter)["dx"]
      yield f"dx {M}x{N}x{K} R {R} accumulate {accumulate}", *compare(wide(dx[:, :K]), exact, naive, 3)
      yield f"gap {M}x{N}x{K}", *gap_kept(dx, K)


def slabs(driver, entry):
  """W in three slabs of rows: the sums pass from one to the next, the last writes dx."""
  rng = np.random.default_rng(3)
  for M, K, N in SHAPES:
    if not fits(entry, N=N, K=K):
      continue
    (dy, dyv), (w, wv) = matrix(rng, M, 3 * N), matrix(rng, 3 * N, K)
    sums, dx = np.full((M, K), np.nan, np.float32), np.full((M, K), NAN)
    for slab in range(3):
      rows = slice(slab * N, (slab + 1) * N)
      got = driver.launch(entry, tiles(entry, M, K), dx=dx, sums=sums, dy=np.ascontiguousarray(dy[:, rows]), w=w[rows], M=M,
                          N=N, K=K, begin=int(slab == 0), end=int(slab == 2))
      if slab < 2:
        yield f"dx {M}x{N}x{K} untouched by slab {slab}", float((got["dx"] != NAN).any()), 0.0
      sums, dx = got["sums"], got["dx"]
    yield f"dx {M}x3 {N}x{K}", *compare(wide(dx), dyv @ wv, rounded(dyv @ wv), 3)


CHECKS = {"linear_fwd": forward, "linear_bwd_input": backward, "linear_bwd_slab": slabs}
