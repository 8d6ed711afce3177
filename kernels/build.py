#!/usr/bin/env python3
"""Compile kernels/ to the PTX that hone ships: ptx/*.ptx and ptx/manifest.json.

    kernels/build.py [SOURCE ...]   compile the sources that changed (or those named), rewrite the manifest
    kernels/build.py --force        compile everything
    kernels/build.py --check        compile everything elsewhere; fail unless every byte equals what is committed
    kernels/build.py --ptxas        assemble every entry for each card; rewrite kernels/PTXAS.md

Needs nvcc for kernels/cuda and Triton for kernels/triton, but no GPU. kernels/README.md says what a source declares and
what the manifest holds.
"""
import argparse
import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
PTX = ROOT / "ptx"
WORKERS = 2


def sources():
  """Every source that holds entries: CUDA files, and Triton files with an ENTRIES list."""
  cuda = sorted((ROOT / "kernels/cuda").glob("*.cu"))
  triton = sorted((ROOT / "kernels/triton").glob("*.py"))
  return [p.relative_to(ROOT) for p in cuda + [p for p in triton if "\nENTRIES" in p.read_text()]]


def language(source):
  """The module that knows a source's language: included, units and compile."""
  if source.suffix == ".cu":
    import build_cuda
    return build_cuda
  import build_triton
  return build_triton


def closure(source):
  """The source and what it includes from this repository, depth first, each once."""
  seen = []

  def visit(path):
    if path not in seen:
      seen.append(path)
      for other in language(source).included(ROOT, path):
        visit(other)

  visit(source)
  return seen


def source_hash(files):
  """SHA-256 over the contents of the files, one after the other."""
  digest = hashlib.sha256()
  for path in files:
    digest.update((ROOT / path).read_bytes())
  return digest.hexdigest()


def compile_job(job):
  """One PTX file: (its name, its text, its manifest entries without source and hash)."""
  source, unit = job
  return source, *language(source).compile(ROOT, source, unit)


def compile_sources(todo):
  """All PTX files of the sources and their manifest entries."""
  jobs = [(s, unit) for s in todo for unit in language(s).units(ROOT, s)]
  files, entries = {}, []
  provenance = {s: closure(s) for s in todo}
  with ProcessPoolExecutor(WORKERS) as pool:
    for source, name, text, found in pool.map(compile_job, jobs):
      if name in files:
        sys.exit(f"{source}: two units write ptx/{name}")
      files[name] = text
      where = {"source": str(source), "sources": [str(p) for p in provenance[source]],
               "hash": source_hash(provenance[source])}
      entries += [{**entry, **where} for entry in found]
      print(f"  ptx/{name}: {len(text)} bytes, {len(found)} entries", flush=True)
  return files, entries


def manifest_text(entries):
  """One entry a line, in a fixed order, so that a change shows as the lines it touches."""
  entries = sorted(entries, key=lambda e: (e["source"], e["tier"], e["op"], e["entry"]))
  keys = [(e["tier"], e["entry"]) for e in entries]
  twice = {k for k in keys if keys.count(k) > 1}
  if twice:
    sys.exit(f"declared twice: {sorted(twice)}")
  return '{"entries":[\n' + ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries) + "\n]}\n"


def committed():
  """The manifest as it lies there."""
  path = PTX / "manifest.json"
  return json.loads(path.read_text())["entries"] if path.exists() else []


def stale(entries):
  """Sources whose entries are missing, or older than the source."""
  result = []
  for source in sources():
    own = [e for e in entries if e["source"] == str(source)]
    now = source_hash(closure(source))
    if not own or any(e["hash"] != now or not (PTX / e["file"]).exists() for e in own):
      result.append(source)
  return result


def build(named, force):
  """Compile what is needed, write the PTX and the manifest, remove PTX that no entry names."""
  entries = committed()
  todo = named or (sources() if force else stale(entries))
  for source in todo:
    print(source)
  files, fresh = compile_sources(todo)
  alive = {str(s) for s in sources()} - {str(s) for s in todo}
  entries = [e for e in entries if e["source"] in alive] + fresh
  PTX.mkdir(exist_ok=True)
  for name, text in files.items():
    (PTX / name).write_text(text)
  (PTX / "manifest.json").write_text(manifest_text(entries))
  for path in PTX.glob("*.ptx"):
    if path.name not in {e["file"] for e in entries}:
      path.unlink()
  print(f"ptx: {len(todo)} sources compiled, {len(entries)} entries")


def check():
  """Rebuild all in memory; every difference from ptx/ is printed and fails."""
  wrong = [f"{s}: the manifest's hash is stale" for s in stale(committed())]
  files, entries = compile_sources(sources())
  files["manifest.json"] = manifest_text(entries)
  names = set(files) | {p.name for p in PTX.iterdir()}
  for name in sorted(names):
    path = PTX / name
    if name not in files:
      wrong.append(f"ptx/{name}: no source makes it")
    elif not path.exists() or path.read_text() != files[name]:
      wrong.append(f"ptx/{name}: differs from a rebuild")
  print("\n".join(wrong) or f"ptx: {len(files)} files equal a rebuild")
  return 1 if wrong else 0


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("source", nargs="*", help="compile these sources only")
  parser.add_argument("--force", action="store_true", help="compile all sources, changed or not")
  parser.add_argument("--check", action="store_true", help="compare a rebuild with ptx/, write nothing")
  parser.add_argument("--ptxas", action="store_true", help="assemble for every card and write kernels/PTXAS.md")
  args = parser.parse_args()
  if args.check:
    return check()
  if args.ptxas:
    import ptxas
    return ptxas.report(ROOT, committed())
  build([Path(s).resolve().relative_to(ROOT) for s in args.source], args.force)
  return 0


if __name__ == "__main__":
  sys.exit(main())
