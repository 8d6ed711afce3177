"""NF4 and AdamW, bit for bit against libhone: see check_rows.py."""
import libhone
import numpy as np
from libhone import call, tensor
from rows import COUNTS, HALVES, SKEWS, ceil, flat_grid, half, same, share

F32 = 2.0**-24


class Weight:
  """A random (N,K) weight in NF4, quantised by libhone, plain or with its scales quantised too."""

  def __init__(self, rng, N, K, nested):
    n = N * K
    self.N, self.K, self.nested = N, K, nested
    w = (rng.standard_normal(n) * np.exp(rng.standard_normal(n) / 2)).astype(np.float32)
    blocks = ceil(n, 64)
    self.codes, self.absmax = np.zeros(ceil(n, 2), np.uint8), np.zeros(blocks, np.float32)
    call("nf4_quantize", tensor(self.codes, "u8"), tensor(self.absmax, "f32"), tensor(w, "f32"), libhone.int32(64))
    self.code, self.dynamic = libhone.tables()
    self.quant = libhone.plain(self.code, self.absmax)
    self.absmax_u8 = self.nested_absmax = None
    self.offset = np.float32(0)
    if nested:
      self.absmax_u8, self.nested_absmax = np.zeros(blocks, np.uint8), np.zeros(ceil(blocks, 256), np.float32)
      offset = np.zeros(1, np.float32)
      call("nf4_quantize_absmax", tensor(self.absmax_u8, "u8"), tensor(self.nested_absmax, "f32"),
           tensor(offset, "f32"), tensor(self.absmax, "f32"))
      self.offset = offset[0]
      self.quant = libhone.nested(self.code, self.absmax_u8, self.dynamic, self.nested_absmax, self.offset)

  def decoded(self, dtype):
    """All of W as hone_cast decodes it, in bits of dtype."""
    out = np.zeros((self.N, self.K), np.float32 if dtype == "f32" else np.uint16)
    call("cast", tensor(out, dtype), tensor(self.codes, "nf4", (self.N, self.K), self.quant))
    return out

  def arguments(self):
    return dict(codes=self.codes, absmax=None if self.nested else self.absmax, absmax_u8=self.absmax_u8,
                nested_code=self.dynamic if self.nested else None, nested_absmax=self.nested_absmax, offset=self.offset,
                code=self.code)


def nf4_dequant(driver, entry):
  rng = np.random.default_rng(1)
  for N, K in ((1, 1), (3, 33), (7, 100), (64, 64), (33, 96), (40, 1024), (5, 4096)):
    for nested in (False, True):
      w = Weight(rng, N, K, nested)
      whole = w.decoded(entry["dtype"])
      for row0, rows, col0, cols in ((0, N, 0, K), (N // 2, N - N // 2, 0, K), (N // 3, 1, K // 2, K - K // 2),
                                     (0, N, K // 2 // 8 * 8, max(1, K // 4 // 8 * 8))):
        for skew in SKEWS:
          out = driver.launch(entry, flat_grid(entry, rows * cols), skew, out=half(entry).empty((rows, cols)),
                              row0=row0, rows=rows, col0=col0, cols=cols, K=K, **w.arguments())["out"]
          yield (f"{N}x{K} nested {nested} rows {row0}+{rows} columns {col0}+{cols}+{skew}",
                 same(out, np.ascontiguousarray(whole[row0:row0 + rows, col0:col0 + cols])))


class Int8Weight:
  """A random (N,K) weight in I8, quantised by libhone."""

  def __init__(self, rng, N, K):
    self.N, self.K = N, K
    w = (rng.standard_normal((N, K)) * np.exp(rng.standard_normal((N, 1)))).astype(np.float32)
    self.codes, self.scale = np.zeros(N * K, np.uint8), np.zeros(N, np.float32)
    call("int8_quantize", tensor(self.codes, "u8"), tensor(self.scale, "f32"), tensor(w, "f32"))

  def decoded(self, dtype):
    """All of W as hone_cast decodes it, in bits of dtype."""
    out = np.zeros((self.N, self.K), np.float32 if dtype == "f32" else np.uint16)
    quant = libhone.rowwise(self.scale, self.K)
    call("cast", tensor(out, dtype), tensor(self.codes, "i8", (self.N, self.K), quant))
    return out


def int8_dequant(driver, entry):
  rng = np.random.default_rng(7)
  for N, K in ((1, 1), (3, 33), (7, 100), (64, 64), (33, 96), (40, 1024), (5, 4096)):
    w = Int8Weight(rng, N, K)
    whole = w.decoded(entry["dtype"])
    for row0, rows, col0, cols in ((0, N, 0, K), (N // 2, N - N // 2, 0, K), (N // 3, 1, K // 2, K - K // 2),
                                   (0, N, K // 2 // 8 * 8, max(1, K // 4 // 8 * 8))):
      for skew in SKEWS:
        out = driver.launch(entry, flat_grid(entry, rows * cols), skew, out=half(entry).empty((rows, cols)),
                            codes=w.codes, scale=w.scale, row0=row0, rows=rows, col0=col0, cols=cols, K=K)["out"]
        yield (f"{N}x{K} rows {row0}+{rows} columns {col0}+{cols}+{skew}",
               same(out, np.ascontiguousarray(whole[row0:row0 + rows, col0:col0 + cols])))


def int8_quantize(driver, entry):
  rng, dtype = np.random.default_rng(8), entry["dtype"]
  for N, K in ((1, 1), (3, 65), (17, 64), (2, 5000), (33, 300)):
    values = rng.standard_normal((N, K)) * np.exp(3 * rng.standard_normal((N, 1)))
    values[N // 2] = 0 if N > 1 else values[0]
    w = as_dtype(values, dtype)
    codes, scale = np.zeros(N * K, np.uint8), np.zeros(N, np.float32)
    call("int8_quantize", tensor(codes, "u8"), tensor(scale, "f32"), tensor(w, dtype))
    for skew in SKEWS:
      got = driver.launch(entry, (N, 1), skew, codes=np.full_like(codes, 0xEE), scale=np.full_like(scale, -1), w=w,
                          N=N, K=K)
      yield f"{N}x{K}+{skew}", same(got["codes"], codes) + same(got["scale"], scale)


def as_dtype(x, dtype):
  return x.astype(np.float32) if dtype == "f32" else HALVES[dtype].bits(x)


def nf4_quantize(driver, entry):
  rng, dtype = np.random.default_rng(3), entry["dtype"]
  for n in COUNTS:
    for block in (64, 2, 96, 4096):
      values = rng.standard_normal(n) * np.exp(3 * rng.standard_normal(n))
      values[n // 3:n // 3 + 2 * block] = 0  # blocks of zeros
      w = as_dtype(values, dtype)
      codes, absmax = np.zeros(ceil(n, 2), np.uint8), np.zeros(ceil(n, block), np.float32)
      call("nf4_quantize", tensor(codes, "u8"), tensor(absmax, "f32"), tensor(w, dtype), libhone.int32(block))
      for skew in SKEWS:
        got = driver.launch(entry, flat_grid(entry, n), skew, codes=np.full_like(codes, 0xEE),
                            absmax=np.full_like(absmax, -1), w=w, n=n, block=block)
        yield f"{n} block {block}+{skew}", same(got["codes"], codes) + same(got["absmax"], absmax)


LEVELS = (1, 5, 8, 31, 32, 255, 512, 600, 4113, 70001, 600_000)  # of absmaxes: torch's sum has a path for each size


def quantised_absmax(absmax):
  """What libhone makes of absmaxes: codes, nested absmaxes, offset."""
  n = len(absmax)
  codes, nested, offset = np.zeros(n, np.uint8), np.zeros(ceil(n, 256), np.float32), np.zeros(1, np.float32)
  call("nf4_quantize_absmax", tensor(codes, "u8"), tensor(nested, "f32"), tensor(offset, "f32"), tensor(absmax, "f32"))
  return codes, nested, offset


def nf4_absmax_mean(driver, entry):
  rng = np.random.default_rng(4)
  for n in LEVELS + (20_000_003,):
    absmax = np.exp(rng.standard_normal(n)).astype(np.float32)
    got = driver.launch(entry, (1,), offset=np.full(1, np.nan, np.float32), absmax=absmax, B=n)["offset"]
    yield f"{n}", same(got, quantised_absmax(absmax)[2])


def nf4_quantize_absmax(driver, entry):
  rng = np.random.default_rng(5)
  _, dynamic = libhone.tables()
  for n in LEVELS:
    for absmax in (np.exp(rng.standard_normal(n)), np.full(n, 0.7), rng.integers(0, 3, n)):
      absmax = absmax.astype(np.float32)
      codes, nested, offset = quantised_absmax(absmax)
      got = driver.launch(entry, flat_grid(entry, n), quantised=np.full_like(codes, 0xEE),
                          nested_absmax=np.full_like(nested, -1), offset=offset, absmax=absmax, dynamic=dynamic, B=n)
      yield f"{n}", same(got["quantised"], codes) + same(got["nested_absmax"], nested)


SETTINGS = dict(lr=np.float32(1e-2), beta1=np.float32(0.9), beta2=np.float32(0.999), eps=np.float32(1e-8),
                weight_decay=np.float32(0.1), grad_scale=np.float32(0.5))


def biases(step):
  return {f"bias{i}": np.float32(1 - beta**step) for i, beta in ((1, 0.9), (2, 0.999))}


def adamw_f32(driver, entry):
  rng = np.random.default_rng(2)
  for n in COUNTS:
    for skew in SKEWS:
      p, m, v = rng.standard_normal(n).astype(np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
      state, update = dict(p=p.copy(), m=m.copy(), v=v.copy()), 0.0
      for step in range(1, 6):
        grad = (0.1 * rng.standard_normal(n)).astype(np.float32)
        got = driver.launch(entry, flat_grid(entry, n), skew, **state, grad=grad, n=n, **SETTINGS, **biases(step))
        before = p.copy()
        call("adamw_step", *[tensor(t, "f32") for t in (p, m, v, grad)], *[float(s) for s in SETTINGS.values()],
             libhone.int64(step))
        update = update + np.abs(p - before)
        state = {name: got[name] for name in "pmv"}
        yield f"m, v {n} step {step}+{skew}", same(got["m"], m) + same(got["v"], v)
        # the biases arrive rounded to f32: the rate and the root of bias2 may be an ulp off, so p moves an ulp
        yield f"p {n} step {step}+{skew}", share(got["p"], p, 2 * step * F32, 4 * F32 * update)


def adamw_8bit(driver, entry):
  rng, names = np.random.default_rng(6), ("p", "m", "v", "m_absmax", "v_absmax")
  signed_map, unsigned_map = np.empty(256, np.float32), np.empty(256, np.float32)
  call("adamw8_maps", tensor(signed_map, "f32"), tensor(unsigned_map, "f32"))
  for n in COUNTS:
    for skew in SKEWS:
      blocks = ceil(n, 256)
      mine = [rng.standard_normal(n).astype(np.float32), np.zeros(n, np.uint8), np.zeros(n, np.uint8),
              np.zeros(blocks, np.float32), np.zeros(blocks, np.float32)]
      state = {name: a.copy() for name, a in zip(names, mine)}
      for step in range(1, 6):
        grad = (rng.standard_normal(n) * np.exp(2 * rng.standard_normal(n))).astype(np.float32)
        grad[n // 2:n // 2 + 600] *= step > 1  # whole blocks without a gradient at first
        got = driver.launch(entry, flat_grid(entry, n), skew, **state, grad=grad, signed_map=signed_map,
                            unsigned_map=unsigned_map, n=n, **SETTINGS, **biases(step))
        tensors = [tensor(a, "u8" if a.dtype == np.uint8 else "f32") for a in mine]
        call("adamw8_step", *tensors, tensor(grad, "f32"), *[float(s) for s in SETTINGS.values()], libhone.int64(step))
        state = {name: got[name] for name in names}
        yield f"{n} step {step}+{skew}", sum(same(got[name], a) for name, a in zip(names, mine))


CHECKS = {"int8_dequant": int8_dequant, "int8_quantize": int8_quantize, "nf4_dequant": nf4_dequant, "nf4_quantize": nf4_quantize, "nf4_absmax_mean": nf4_absmax_mean,
          "nf4_quantize_absmax": nf4_quantize_absmax, "adamw_f32": adamw_f32, "adamw_8bit": adamw_8bit}
