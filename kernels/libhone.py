"""libhone from Python, for checks that a CUDA kernel has the bits of the C op: $HONE_LIB, or the one Maven built."""
import ctypes
import os
from pathlib import Path

import numpy as np

DTYPES = {"f32": 0, "bf16": 1, "f16": 2, "i32": 3, "u8": 4, "nf4": 5, "f64": 6, "i8": 7}
BUILT = Path(__file__).resolve().parent.parent / "target/classes/native/linux-x86_64/libhone.so"
int32, int64 = ctypes.c_int32, ctypes.c_int64
library = ctypes.CDLL(os.environ.get("HONE_LIB", str(BUILT)))
library.hone_last_error.restype = ctypes.c_char_p


class Quant(ctypes.Structure):
  _fields_ = [("code", ctypes.c_void_p), ("absmax_f32", ctypes.c_void_p), ("absmax_u8", ctypes.c_void_p),
              ("nested_code", ctypes.c_void_p), ("nested_absmax", ctypes.c_void_p), ("nested_offset", ctypes.c_float),
              ("block", ctypes.c_int32), ("nested_block", ctypes.c_int32)]


class Tensor(ctypes.Structure):
  _fields_ = [("data", ctypes.c_void_p), ("quant", ctypes.POINTER(Quant)), ("name", ctypes.c_char_p),
              ("shape", ctypes.c_int64 * 4), ("dtype", ctypes.c_int32), ("rank", ctypes.c_int32)]


def tensor(array, dtype, shape=None, quant=None):
  """A descriptor of a numpy array, which must outlive it."""
  shape = array.shape if shape is None else shape
  extents = (ctypes.c_int64 * 4)(*shape, *[1] * (4 - len(shape)))
  pointer = ctypes.pointer(quant) if quant else None
  return Tensor(array.ctypes.data, pointer, dtype.encode(), extents, DTYPES[dtype], len(shape))


def nested(code, absmax_u8, nested_code, nested_absmax, offset):
  return Quant(code.ctypes.data, None, absmax_u8.ctypes.data, nested_code.ctypes.data, nested_absmax.ctypes.data,
               offset, 64, 256)


def plain(code, absmax):
  return Quant(code.ctypes.data, absmax.ctypes.data, None, None, None, 0, 64, 256)


def rowwise(scale, columns):
  return Quant(None, scale.ctypes.data, None, None, None, 0, columns, 0)


def call(name, *arguments):
  """hone_<name>; tensors by reference, floats as f32; a failure raises its message."""
  passed = [ctypes.byref(a) if isinstance(a, Tensor) else ctypes.c_float(a) if isinstance(a, float) else a
            for a in arguments]
  status = getattr(library, f"hone_{name}")(*passed)
  if status:
    raise RuntimeError(library.hone_last_error().decode())


def tables():
  """The NF4 code book and the signed dynamic map."""
  code, dynamic = np.empty(16, np.float32), np.empty(256, np.float32)
  call("nf4_tables", tensor(code, "f32"), tensor(dynamic, "f32"))
  return code, dynamic
