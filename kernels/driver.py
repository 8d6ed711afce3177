"""The CUDA driver API from Python, as far as kernels/check.py needs it: modules, memory with guards, launches.

The library is $HONE_CUDA (the stand-in driver of src/test, or libcuda.so.1 itself)."""
import ctypes
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
GUARD = 512  # bytes on either side of every buffer, a fixed pattern
DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
C_TYPES = {"u64": ctypes.c_uint64, "s64": ctypes.c_int64, "s32": ctypes.c_int32, "u32": ctypes.c_uint32,
           "f32": ctypes.c_float, "f64": ctypes.c_double}


def bf16(x):
  """Values rounded to bf16, to nearest even, as uint16."""
  bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
  return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def wide(x):
  """bf16 as uint16 -> float64."""
  return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def rounded(x):
  """Values rounded to bf16, in float64."""
  return wide(bf16(x))


class Buffer:
  """Device memory that holds an array between two guards."""

  def __init__(self, driver, array):
    self.driver, self.array = driver, np.ascontiguousarray(array)
    size = -(-self.array.nbytes // 16) * 16
    self.pattern = np.full(GUARD, 0x5A, np.uint8)
    block = np.concatenate([self.pattern, self.array.view(np.uint8).reshape(-1),
                            np.full(size - self.array.nbytes, 0x5A, np.uint8), self.pattern])
    base = ctypes.c_uint64()
    driver.call("cuMemAlloc_v2", ctypes.byref(base), ctypes.c_size_t(block.nbytes))
    driver.call("cuMemcpyHtoD_v2", base, block.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(block.nbytes))
    self.base, self.address, self.bytes = base, base.value + GUARD, block.nbytes

  def read(self):
    """The array as it is now; fails when a guard was written."""
    block = np.empty(self.bytes, np.uint8)
    self.driver.call("cuMemcpyDtoH_v2", block.ctypes.data_as(ctypes.c_void_p), self.base,
                     ctypes.c_size_t(self.bytes))
    end = GUARD + self.array.nbytes
    if (block[:GUARD] != 0x5A).any() or (block[end:] != 0x5A).any():
      raise AssertionError("wrote outside its buffer")
    return block[GUARD:end].view(self.array.dtype).reshape(self.array.shape)

  def free(self):
    self.driver.call("cuMemFree_v2", self.base)


class Driver:
  def __init__(self):
    self.library = ctypes.CDLL(os.environ.get("HONE_CUDA", "libcuda.so.1"))
    self.call("cuInit", ctypes.c_uint(0))
    device, context = ctypes.c_int(), ctypes.c_void_p()
    self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
    self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    self.call("cuCtxSetCurrent", context)
    self.functions = {}

  def call(self, name, *arguments):
    status = getattr(self.library, name)(*arguments)
    if status:
      raise RuntimeError(f"{name}: CUDA error {status}")

  def function(self, entry):
    """The function of a manifest entry, its module loaded once."""
    key = entry["tier"], entry["entry"]
    if key not in self.functions:
      module, function = ctypes.c_void_p(), ctypes.c_void_p()
      text = ctypes.create_string_buffer((ROOT / "ptx" / entry["file"]).read_bytes())
      self.call("cuModuleLoadData", ctypes.byref(module), text)
      self.call("cuModuleGetFunction", ctypes.byref(function), module, entry["entry"].encode())
      if entry["shared"] > 48 * 1024:
        self.call("cuFuncSetAttribute", function, ctypes.c_int(DYNAMIC_SHARED), ctypes.c_int(entry["shared"]))
      self.functions[key] = function
    return self.functions[key]

  def launch(self, entry, grid, **arguments):
    """Launch with arrays (copied in; returned as they are afterwards) and numbers; None is a null pointer."""
    buffers = {name: Buffer(self, a) for name, a in arguments.items() if isinstance(a, np.ndarray)}
    slots = []
    for param in entry["params"]:
      value = arguments.pop(param["name"])
      if isinstance(value, np.ndarray):
        value = buffers[param["name"]].address
      slots.append(C_TYPES[param["type"]](0 if value is None else value))
      divisor = entry["divisible"].get(param["name"], 1)
      if int(slots[-1].value) % divisor:
        raise AssertionError(f"{entry['entry']}: {param['name']} must be a multiple of {divisor}")
    if arguments:
      raise AssertionError(f"{entry['entry']} has no parameter {sorted(arguments)}")
    slots += [ctypes.c_uint64(0)] * entry["hidden"]
    pointers = (ctypes.c_void_p * len(slots))(*[ctypes.cast(ctypes.byref(s), ctypes.c_void_p) for s in slots])
    grid = [ctypes.c_uint(g) for g in (*grid, 1, 1)[:3]]
    block = [ctypes.c_uint(b) for b in (entry["block"], 1, 1)]
    self.call("cuLaunchKernel", self.function(entry), *grid, *block, ctypes.c_uint(entry["shared"]), None, pointers,
              None)
    self.call("cuCtxSynchronize")
    result = {name: b.read() for name, b in buffers.items()}
    for b in buffers.values():
      b.free()
    return result
