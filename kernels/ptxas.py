"""Assemble every entry for every card it may meet: registers, spills, shared memory -> kernels/PTXAS.md."""
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Most dynamic and static shared memory of a block, in bytes (CUDA C++ programming guide, compute capabilities).
CARDS = {"sm_75": 65536, "sm_80": 166912, "sm_86": 101376, "sm_89": 101376, "sm_90": 232448, "sm_100": 232448,
         "sm_120": 101376}
# Which cards a tier is for: sm_75 has its own PTX, every later one gets sm_80's.
TIER_CARDS = {"sm_75": ["sm_75"], "sm_80": [card for card in CARDS if card != "sm_75"]}
# Spills below this come and go between cards and cost nothing that shows.
SPILL_LIMIT = 64
WORKERS = 2


def assemble(path, card):
  """{entry: [registers, spilled bytes]} of a PTX file."""
  with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
    run = subprocess.run(["ptxas", "-v", f"-arch={card}", str(path), "-o", cubin.name], capture_output=True, text=True)
  if run.returncode:
    sys.exit(f"{path.name} for {card}: {run.stderr}")
  found = {}
  for part in run.stderr.split("Compiling entry function")[1:]:
    name = re.search(r"'(\w+)'", part)[1]
    stores, loads = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part).groups()
    found[name] = [int(re.search(r"Used (\d+) registers", part)[1]), max(int(stores), int(loads))]
  return found


def measured(root, entries):
  """{(entry, card): [registers, spilled bytes]}; what was assembled before is taken from target/ptxas.json."""
  version = subprocess.run(["ptxas", "--version"], capture_output=True, text=True, check=True).stdout
  cache_path = root / "target/ptxas.json"
  cache = json.loads(cache_path.read_text()) if cache_path.exists() else {}
  jobs = {}
  for file, tier in sorted({(e["file"], e["tier"]) for e in entries}):
    path = root / "ptx" / file
    for card in TIER_CARDS[tier]:
      jobs[file, card] = path, hashlib.sha256(version.encode() + card.encode() + path.read_bytes()).hexdigest()
  todo = [(path, card, key) for (_, card), (path, key) in jobs.items() if key not in cache]
  cache_path.parent.mkdir(exist_ok=True)
  with ThreadPoolExecutor(WORKERS) as pool:
    for count, (key, found) in enumerate(pool.map(lambda job: (job[2], assemble(job[0], job[1])), todo), 1):
      cache[key] = found
      if count % 20 == 0 or count == len(todo):
        print(f"  {count} of {len(todo)} assembled", flush=True)
        cache_path.write_text(json.dumps(cache))
  return {(e["tier"], e["entry"], card): cache[jobs[e["file"], card][1]][e["entry"]]
          for e in entries for card in TIER_CARDS[e["tier"]]}


def problems(entries, figures):
  """Spills of entries for aligned shapes, and more shared memory than a card has."""
  for e in entries:
    for card in TIER_CARDS[e["tier"]]:
      spilled, shared = figures[e["tier"], e["entry"], card][1], e["shared"] + e["static_shared"]
      if spilled > SPILL_LIMIT and "_any" not in e["entry"]:
        yield f"{e['entry']} spills {spilled} bytes on {card}"
      if shared > CARDS[card]:
        yield f"{e['entry']} wants {shared} bytes of shared memory, {card} has {CARDS[card]}"


def cell(e, card, figures):
  """Registers, and spilled bytes when there are any."""
  registers, spilled = figures[e["tier"], e["entry"], card]
  return f"{registers} ({spilled} B)" if spilled else str(registers)


def report(root, entries):
  """Write kernels/PTXAS.md; 1 when an entry breaks a limit."""
  figures = measured(root, entries)
  version = subprocess.run(["ptxas", "--version"], capture_output=True, text=True, check=True).stdout
  release = re.search(r"V([\d.]+)", version)[1]
  lines = ["# What ptxas makes of the PTX", "",
           f"Written by `kernels/build.py --ptxas` with ptxas {release}: threads and bytes of shared memory of a block;",
           f"for each card registers of a thread, spilled bytes in brackets (at most {SPILL_LIMIT}, but in `any` variants)."]
  for tier, cards in TIER_CARDS.items():
    rows = [e for e in entries if e["tier"] == tier]
    if rows:
      lines += ["", f"## Tier {tier}", "", "| entry | threads | shared | " + " | ".join(cards) + " |",
                "|---|--:|--:|" + "--:|" * len(cards)]
    lines += [f"| {e['entry'].removeprefix('hone_')} | {e['block']} | {e['shared'] + e['static_shared']} | "
              + " | ".join(cell(e, card, figures) for card in cards) + " |" for e in rows]
  (root / "kernels/PTXAS.md").write_text("\n".join(lines) + "\n")
  wrong = list(problems(entries, figures))
  print("\n".join(wrong) or f"ptxas: {len(entries)} entries within the limits of their cards")
  return 1 if wrong else 0
