"""lora_down, lora_up and lora_grad against numpy, their dropout against hone_uniform of src/main/c: see check.py."""
import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from check_linear import NAN, compare, fits, gap_kept, matrix
from driver import ROOT, rounded, wide

SHAPES = [(1, 64, 8), (7, 96, 16), (33, 136, 3), (130, 320, 64), (40, 50, 7), (70, 200, 32), (21, 72, 128),
          (64, 33, 100)]
SEED = 0x9E3779B97F4A7C15  # above 2^63: the sign bit must not matter


@functools.cache
def uniform():
  """hone_uniform, compiled from src/main/c/internal.h: (n) float32 of the indices first .. first+n-1."""
  folder = Path(tempfile.mkdtemp())
  (folder / "mask.c").write_text(
      '#include "internal.h"\nvoid mask(float *u, uint64_t seed, uint64_t first, int64_t n) {\n'
      "  for (int64_t i = 0; i < n; i++) u[i] = hone_uniform(seed, first + (uint64_t)i);\n}\n")
  subprocess.run(["cc", "-O1", "-shared", "-fPIC", f"-I{ROOT}/src/main/c", "-o", folder / "mask.so", folder / "mask.c"],
                 check=True)
  return ctypes.CDLL(str(folder / "mask.so")).mask


def keep(rows, cols, p):
  """The mask of a (rows, cols) matrix, as the C side makes it."""
  u = np.empty((rows, cols), np.float32)
  uniform()(u.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(SEED), ctypes.c_uint64(0), ctypes.c_int64(u.size))
  return u >= np.float32(p)


def factor(rng, rows, cols, transposed):
  """An f32 factor (rows, cols) or transposed, 8 apart from dense and NaN between; its bf16 values; its ld."""
  x = rng.standard_normal((rows, cols)).astype(np.float32)
  stored = np.full((cols, rows + 8) if transposed else (rows, cols + 8), np.float32("nan"))
  stored[:, :-8] = x.T if transposed else x
  return stored, rounded(x), stored.shape[1]


def cases(entry, width):
  """(M, width, R, transposed, dropout) that an entry takes."""
  for M, n, R in SHAPES:
    if R <= entry["consts"]["R"] and fits(entry, R=R, **{width: n}):
      for transposed, p in ((0, 0.0), (1, 0.0), (0, 0.25), (1, 0.25)):
        yield M, n, R, transposed, p


def down(driver, entry):
  rng = np.random.default_rng(3)
  for M, K, R, transposed, p in cases(entry, "K"):
    (x, xv), (a, av, lda), ldu = matrix(rng, M, K), factor(rng, R, K, transposed), R + 8
    if not fits(entry, lda=lda, ldu=ldu):
      continue
    exact = np.float32(1.25) * ((xv * keep(M, K, p)) @ av.T)
    u = driver.launch(entry, (-(-M // entry["consts"]["BM"]),), u=np.full((M, ldu), NAN), x=x, a=a, M=M, K=K, R=R,
                      ldu=ldu, lda=lda, alpha=1.25, transposed=transposed, dropout=p, seed=SEED)["u"]
    case = f"{M}x{K} R={R} transposed={transposed} dropout={p}"
    yield f"u {case}", *compare(wide(u[:, :R]), exact, rounded(exact), 2)
    yield f"gap {case}", *gap_kept(u, R)


def up(driver, entry):
  rng = np.random.default_rng(4)
  for M, N, R, transposed, p in cases(entry, "N"):
    ldy, ldu = N + 8, R + 8
    (y, yv), (u, uv), (b, bv, ldb) = matrix(rng, M, N, ldy), matrix(rng, M, R, ldu), factor(rng, N, R, transposed)
    if not fits(entry, ldb=ldb, ldy=ldy, ldu=ldu):
      continue
    product = np.float32(0.75) * (uv @ bv.T) * keep(M, N, p)
    accumulate = int(transposed or p > 0)
    if not accumulate:
      y[:, :N], yv = NAN, np.zeros((M, N))
    grid = (-(-M // entry["consts"]["BM"]) * -(-N // entry["consts"]["BN"]),)
    got = driver.launch(entry, grid, y=y, u=u, b=b, M=M, N=N, R=R, ldy=ldy, ldu=ldu, ldb=ldb, alpha=0.75,
                        transposed=transposed, accumulate=accumulate, dropout=p, seed=SEED)["y"]
    case = f"{M}x{N} R={R} transposed={transposed} accumulate={accumulate} dropout={p}"
    yield f"y {case}", *compare(wide(got[:, :N]), yv + product, rounded(yv + rounded(product)), 2)
    yield f"mask {case}", float(((got != y)[:, :N] & ~keep(M, N, p)).any()), 0.0
    yield f"gap {case}", *gap_kept(got, N)


def grad(driver, entry):
  rng = np.random.default_rng(5)
  for M, K, R, transposed, p in cases(entry, "K"):
    splits, lde = (3, R) if transposed else (1, R + 8)
    rows = -(-M // splits)
    (e, ev), (x, xv) = matrix(rng, M, R, lde), matrix(rng, M, K)
    if not fits(entry, lde=lde):
      continue
    x_kept = xv * keep(M, K, p)
    exact = np.stack([ev[s * rows:(s + 1) * rows].T @ x_kept[s * rows:(s + 1) * rows] for s in range(splits)])
    grid, empty = (-(-K // entry["consts"]["BN"]), splits), np.full((splits, R, K), np.float32("nan"))
    part = driver.launch(entry, grid, part=empty, e=e, x=x, M=M, K=K, R=R, lde=lde, rows_per_split=rows,
                         dropout=p, seed=SEED)["part"]
    # Products are exact in f32: the error is that of at most M f32 additions of sums up to max |e|^T |x|.
    bound = M * 2.0**-24 * (np.abs(ev).T @ np.abs(xv)).max()
    yield f"part {M}x{K} R={R} splits={splits} dropout={p}", np.abs(part - exact).max(), bound


CHECKS = {"lora_down": down, "lora_up": up, "lora_grad": grad}
