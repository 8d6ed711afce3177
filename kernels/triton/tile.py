"""What the tensor-core kernels share: the declaration of an entry, the order of tiles, the dropout mask."""
from dataclasses import dataclass, field

import triton
import triton.language as tl


@dataclass
class Entry:
  """One kernel of the manifest.

  op         the op, which is the kernel's name
  variant    what follows hone_<op>_bf16_ in the symbol
  signature  name -> Triton type of each launch parameter, in order
  consts     compile-time numbers; the caller reads them from the manifest to choose and to compute its grid. RANK is R
             there: in a kernel R is the parameter
  divisible  parameter -> what it must be a multiple of (dims in elements, pointers in bytes); the compiler relies on it
  """
  kernel: object
  variant: str
  signature: dict
  consts: dict
  warps: int
  stages: int
  divisible: dict = field(default_factory=dict)

  @property
  def op(self):
    return self.kernel.__name__

  @property
  def name(self):
    return f"hone_{self.op}_bf16_{self.variant}"


def params(text):
  """`y:bf16* M:i32` -> a signature."""
  kinds = (p.split(":") for p in text.split())
  return {name: "*" + kind[:-1] if kind.endswith("*") else kind for name, kind in kinds}


def pointers(signature, divisor=16):
  """The divisibility of every pointer of a signature: what 16-byte accesses need."""
  return {name: divisor for name, kind in signature.items() if kind.startswith("*")}


@triton.jit
def tile_of(M, N, BM: tl.constexpr, BN: tl.constexpr, GM: tl.constexpr):
  """First row and column of this program's tile. Bands of GM tiles down, then across: a wave of programs shares both
  its rows of the left operand and its columns of the right one in L2."""
  pid = tl.program_id(0)
  down = tl.cdiv(M, BM)
  band = GM * tl.cdiv(N, BN)
  first = pid // band * GM
  height = tl.minimum(down - first, GM)
  return (first + pid % band % height) * BM, pid % band // height * BN


@triton.jit
def kept(seed, first, offset, dropout):
  """Whether the elements first + offset stay: uniform(seed, element) >= dropout, hone_uniform of src/main/c/internal.h.
  first is one 64-bit number, the offsets are a tile of 32-bit ones: a tile of 64-bit ones takes twice the registers."""
  z = seed + (first.to(tl.uint64) + 1) * 0x9E3779B97F4A7C15 + offset.to(tl.uint64) * 0x9E3779B97F4A7C15
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB
  z ^= z >> 31
  return (z >> 40).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08 >= dropout  # 2^-24
