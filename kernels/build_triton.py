"""Triton sources: ahead of time to PTX for sm_80, without a GPU. A source exports ENTRIES, a list of tile.Entry."""
import importlib
import os
import re
import sys
import tempfile

PTX_VERSION = 78  # loaded by drivers from 520 on
TIER, CAPABILITY = "sm_80", 80
TYPES = {"i32": "s32", "i64": "s64", "u64": "u64", "fp32": "f32"}


def included(root, path):
  """Sibling modules that `path` imports."""
  for name in re.findall(r"^(?:from|import) (\w+)", (root / path).read_text(), re.M):
    if (root / path.parent / f"{name}.py").exists():
      yield path.parent / f"{name}.py"


def module(root, source):
  folder = str(root / source.parent)
  if folder not in sys.path:
    sys.path.append(folder)
  return importlib.import_module(source.stem)


def units(root, source):
  """One PTX file for each entry: Triton makes one module a kernel."""
  return range(len(module(root, source).ENTRIES))


def manifest_type(kind):
  return "u64" if kind.startswith("*") else TYPES[kind]


def emit(entry):
  """(PTX, dynamic shared bytes) of an entry, compiled in a cache of its own so that nothing old is found."""
  os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
  import triton
  from triton.backends.compiler import GPUTarget
  from triton.backends.nvidia.compiler import CUDABackend
  from triton.compiler import ASTSource

  CUDABackend.make_cubin = lambda self, src, metadata, opt, capability: b""  # PTX is the product: no ptxas
  names = list(entry.signature)
  signature = {**entry.signature, **{c: "constexpr" for c in entry.consts}}
  divisible = {(names.index(n),): [["tt.divisibility", d]] for n, d in entry.divisible.items()}
  with tempfile.TemporaryDirectory() as cache:
    with triton.knobs.cache.scope():
      triton.knobs.cache.dir = cache
      kernel = triton.compile(
          ASTSource(fn=entry.kernel, signature=signature, constexprs=dict(entry.consts), attrs=divisible),
          target=GPUTarget("cuda", CAPABILITY, 32),
          options={"num_warps": entry.warps, "num_stages": entry.stages, "ptx_version": PTX_VERSION})
  meta = kernel.metadata
  if meta.global_scratch_size or meta.profile_scratch_size:
    sys.exit(f"{entry.name}: wants scratch memory, which no caller gives")
  return kernel.asm["ptx"], meta.shared


def tidy(ptx, entry):
  """The PTX under the entry's symbol, without comments, blank lines and debug sections."""
  ptx = re.sub(rf"\b{entry.kernel.__name__}(?=\b|_param_\d)", entry.name, re.sub(r"//.*", "", ptx))
  ptx = re.sub(r"^\s*\.(section|file|loc)\b[^\n]*(\n\s*\{.*?^\s*\})?", "", ptx, flags=re.M | re.S)
  return "\n".join(line.rstrip() for line in ptx.splitlines() if line.strip()) + "\n"


def compile(root, source, index):
  """(file name, PTX, [manifest entry])"""
  entry = module(root, source).ENTRIES[index]
  ptx, shared = emit(entry)
  ptx = tidy(ptx, entry)
  params = re.findall(r"\.param \.(\w+)", re.search(rf"\.entry {entry.name}\((.*?)\)", ptx, re.S)[1])
  if len(params) != len(entry.signature) + 2:
    sys.exit(f"{entry.name}: {len(params)} parameters in PTX, {len(entry.signature)} declared and 2 hidden")
  if str(root) in ptx:
    sys.exit(f"{entry.name}: the PTX names a path of this machine")
  name = f"{entry.name.removeprefix('hone_')}.{TIER}.ptx"
  return name, ptx, [{
      "entry": entry.name, "op": entry.op, "tier": TIER, "dtype": "bf16", "file": name,
      "params": [{"name": n, "type": manifest_type(t)} for n, t in entry.signature.items()], "hidden": 2,
      "block": 32 * entry.warps, "shared": shared, "static_shared": 0,
      "consts": {"R" if c == "RANK" else c: v for c, v in entry.consts.items()},
      "divisible": dict(entry.divisible), "ptx": re.search(r"^\.version (\S+)", ptx, re.M)[1], "target": TIER}]
