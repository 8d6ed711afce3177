"""CUDA C++ sources: declarations in comments, PTX by nvcc, parameters from the C signature and the PTX together."""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Activations' element type in each tier; {T} in a declaration stands for it.
TIERS = {"sm_75": "f16", "sm_80": "bf16"}
# Drivers from 520 on load 7.8. nvcc puts its own newest version over any body; ptxas says whether a lower one holds.
PTX_VERSIONS = ("7.8", "8.0")
C_TYPES = {"int": "s32", "int32_t": "s32", "unsigned": "u32", "unsigned int": "u32", "uint32_t": "u32",
           "int64_t": "s64", "long": "s64", "long long": "s64", "uint64_t": "u64", "unsigned long": "u64",
           "unsigned long long": "u64", "size_t": "u64", "float": "f32", "double": "f64"}
WIDTHS = {"s32": "32", "u32": "32", "f32": "f32", "s64": "64", "u64": "64", "f64": "f64"}


def included(root, path):
  """Files of the repository that `path` includes with quotes."""
  for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', (root / path).read_text(), re.M):
    yield ((root / path.parent) / name).resolve().relative_to(root)


def declared(text, key):
  """The words after each `// key:` line."""
  return [line.split() for line in re.findall(rf"^//\s*{key}:(.*)$", text, re.M)]


def units(root, source):
  """One PTX file for each tier of the `// tiers:` line."""
  tiers = [t for words in declared((root / source).read_text(), "tiers") for t in words]
  if not tiers or any(t not in TIERS for t in tiers):
    sys.exit(f"{source}: want a line `// tiers:` with {' or '.join(TIERS)}, found {tiers}")
  return tiers


def number(source, text, word):
  """A number as it stands, or the value of a constant of the source."""
  if re.fullmatch(r"\d+", word):
    return int(word)
  found = re.search(rf"^\s*(?:#define\s+{word}\s+|[\w\s]*\bconstexpr\s+\w+\s+{word}\s*=\s*|"
                    rf"(?:enum\s*\{{)?[^\n]*\b{word}\s*=\s*)(\d+)\b", text, re.M)
  if not found:
    sys.exit(f"{source}: {word} is no number and no constant of the file")
  return int(found[1])


def pairs(source, text, words):
  return {k: number(source, text, v) for k, v in (p.split(":") for p in words.split(",") if p)}


def signature(source, preprocessed, entry):
  """[(name, type)] of a kernel, from its definition after the preprocessor."""
  for match in re.finditer(rf"\b{entry}\s*\(([^()]*)\)\s*\{{", preprocessed):
    params = []
    for param in match[1].split(","):
      words = re.sub(r"\b(const|__restrict__|volatile)\b", " ", param).strip()
      if not words:
        continue
      kind, name = re.fullmatch(r"(.*?)\s*(\w+)", words, re.S).groups()
      kind = " ".join(kind.split())
      if "*" not in kind and kind not in C_TYPES:
        sys.exit(f"{source}: {entry}: parameter {name} is {kind}, want a pointer or one of {sorted(C_TYPES)}")
      params.append({"name": name, "type": "u64" if "*" in kind else C_TYPES[kind]})
    return params
  sys.exit(f"{source}: declares {entry}, which it does not define")


def body(source, ptx, entry):
  """(parameter types, directives, body) of an entry in PTX."""
  match = re.search(rf"\.entry {entry}\(([^)]*)\)([^{{]*)\{{(.*?)^\}}", ptx, re.S | re.M)
  if not match:
    sys.exit(f"{source}: no entry {entry} in its PTX")
  return re.findall(r"\.param \.(\w+)", match[1]), match[2], match[3]


def static_shared(ptx, text):
  """Bytes of the shared arrays an entry declares or names."""
  total = 0
  for align, name, size in re.findall(r"(?<!\.extern )\.shared \.align (\d+) \.b8 (\w+)\[(\d+)\]", ptx):
    if re.search(rf"\b{name}\b", text):
      total = -(-total // int(align)) * int(align) + int(size)
  return total


def describe(source, text, preprocessed, ptx, tier, words):
  """The manifest entry of one `// entry:` line."""
  fields = dict(word.split("=", 1) for word in words[1:])
  unknown = set(fields) - {"op", "dtype", "block", "shared", "consts", "divisible", "tiers"}
  if unknown or not {"op", "block"} <= set(fields):
    sys.exit(f"{source}: // entry: {' '.join(words)}: op= and block= are needed, {sorted(unknown)} are unknown")
  entry = words[0].replace("{T}", TIERS[tier])
  params = signature(source, preprocessed, entry)
  types, directives, inside = body(source, ptx, entry)
  for param, kind in zip(params, types, strict=True):
    if WIDTHS[param["type"]] != re.sub(r"^[usb](?=\d)", "", kind):
      sys.exit(f"{source}: {entry}: {param['name']} is {param['type']} in C and {kind} in PTX")
  block = number(source, text, fields["block"])
  bound = re.search(r"\.(?:max|req)ntid (\d+)", directives)
  if not bound or int(bound[1]) != block:
    sys.exit(f"{source}: {entry}: want __launch_bounds__({block}), its block=")
  return {"entry": entry, "op": fields["op"], "tier": tier, "dtype": fields.get("dtype", TIERS[tier]),
          "file": f"{source.stem}.{tier}.ptx", "params": params, "hidden": 0, "block": block,
          "shared": number(source, text, fields.get("shared", "0")), "static_shared": static_shared(ptx, inside),
          "consts": pairs(source, text, fields.get("consts", "")),
          "divisible": pairs(source, text, fields.get("divisible", "")),
          "ptx": re.search(r"^\.version (\S+)", ptx, re.M)[1], "target": tier}


def nvcc(root, source, tier, flags, action):
  """Run nvcc from the root, with a relative path, so that nothing of this machine gets into the output."""
  with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "out"
    run = subprocess.run(
        ["nvcc", action, f"-arch=compute_{tier[3:]}", "-O3", "-std=c++17", "-Werror", "all-warnings",
         f"-DHONE_SM={tier[3:]}", *flags, "-o", str(out), str(source)], cwd=root, capture_output=True, text=True)
    if run.returncode:
      sys.exit(f"{source} for {tier}:\n{run.stdout}{run.stderr}")
    return out.read_text()


def lowered(source, ptx, tier):
  """The text under the lowest version of PTX_VERSIONS that ptxas takes, without comments."""
  ptx = "\n".join(line.rstrip() for line in re.sub(r"//.*", "", ptx).splitlines() if line.strip()) + "\n"
  for version in PTX_VERSIONS:
    text = re.sub(r"^\.version .*$", f".version {version}", ptx, flags=re.M)
    with tempfile.TemporaryDirectory() as folder:
      path = Path(folder) / "in.ptx"
      path.write_text(text)
      run = subprocess.run(["ptxas", f"-arch={tier}", "-O0", str(path), "-o", str(path) + ".cubin"],
                           capture_output=True, text=True)
    if not run.returncode:
      return text
  sys.exit(f"{source} for {tier}: ptxas refuses it as PTX {PTX_VERSIONS[-1]}:\n{run.stderr}")


def compile(root, source, tier):
  """(file name, PTX, manifest entries) of one source for one tier."""
  text = (root / source).read_text()
  flags = [flag for words in declared(text, "nvcc") for flag in words]
  ptx = lowered(source, nvcc(root, source, tier, flags, "-ptx"), tier)
  preprocessed = nvcc(root, source, tier, flags, "-E")
  lines = [w for w in declared(text, "entry") if not any(f.startswith("tiers=") and tier not in f for f in w)]
  entries = [describe(source, text, preprocessed, ptx, tier, words) for words in lines]
  names = set(re.findall(r"\.entry (\w+)\(", ptx))
  if names != {e["entry"] for e in entries}:
    sys.exit(f"{source} for {tier}: entries in PTX and declarations differ: "
             f"{sorted(names ^ {e['entry'] for e in entries})}")
  if str(root) in ptx:
    sys.exit(f"{source} for {tier}: the PTX names a path of this machine")
  return f"{source.stem}.{tier}.ptx", ptx, entries
