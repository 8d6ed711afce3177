"""What check_rows.py's checks share: 16-bit types as uint16, grids, and errors as shares of what is allowed."""
import numpy as np
from driver import bf16

ROWS = (1, 2, 7, 33)
WIDTHS = (1, 24, 64, 96, 100, 4096)
COUNTS = (1, 7, 255, 1023, 4096, 20001)
SKEWS = (0, 1)  # elements by which bases miss a multiple of 16 bytes


class Half:
  """A 16-bit type: values to bits and back, its unit of rounding and the smallest step."""

  def __init__(self, name, unit, step):
    self.name, self.unit, self.step = name, unit, step

  def bits(self, x):
    x = np.asarray(x, np.float64).astype(np.float32)
    return bf16(x) if self.name == "bf16" else x.astype(np.float16).view(np.uint16)

  def wide(self, bits):
    if self.name == "bf16":
      return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float16).astype(np.float64)

  def rounded(self, x):
    return self.wide(self.bits(x))

  def normal(self, rng, shape, scale=1.0):
    """Random bits and their values."""
    bits = self.bits(scale * rng.standard_normal(shape))
    return bits, self.wide(bits)

  def empty(self, shape):
    return np.full(shape, 0x7FC0 if self.name == "bf16" else 0x7E00, np.uint16)


HALVES = {"bf16": Half("bf16", 2.0**-8, 2.0**-133), "f16": Half("f16", 2.0**-11, 2.0**-25)}


def half(entry):
  return HALVES[entry["dtype"]]


def ceil(n, d):
  return -(-n // d)


def rows_grid(entry, rows):
  return (ceil(rows, entry["consts"]["ROWS"]),)


def flat_grid(entry, n):
  return (ceil(n, entry["consts"]["PER_BLOCK"]),)


def share(got, exact, relative, absolute=0.0):
  """The worst error as a share of relative |exact| + absolute; infinite when a value is NaN that should not be."""
  got, exact = np.asarray(got, np.float64), np.asarray(exact, np.float64)
  both = np.isnan(exact) & np.isnan(got)
  with np.errstate(invalid="ignore", divide="ignore"):
    error = np.where(got == exact, 0.0, np.abs(got - exact))
    part = np.where(error == 0, 0.0, error / (relative * np.abs(exact) + absolute))
  part = np.where(both, 0.0, np.where(np.isnan(part), np.inf, part))
  return float(part.max(initial=0.0))


def same(got, want):
  """0 when every bit is equal, else infinity."""
  got, want = np.ascontiguousarray(got), np.ascontiguousarray(want)
  equal = got.shape == want.shape and got.dtype.itemsize == want.dtype.itemsize and got.tobytes() == want.tobytes()
  return 0.0 if equal else float("inf")
