"""The race of bench/side_by_side.sh; see there."""
import argparse
import csv
import datetime
import importlib.metadata
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from peft_step import SHAPES

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEFT_STEP = str(ROOT / "bench" / "peft_step.py")
# Relative difference of a step's loss that both sides' rounding explains: f32 sums in another order; bf16 activations
# have 8 bits, and the two round them at different places.
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}


def measured(command, log):
    """Runs a command; its standard output, and the peak of its resident memory in bytes as the kernel kept it."""
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"side_by_side: exit code {process.returncode} of {' '.join(command)}\n{out}{open(log).read()}")
    return out, usage.ru_maxrss * 1024


def peft(a, folder, dtype):
    out, peak = measured(
        [sys.executable, PEFT_STEP, "train", str(folder), "--shape", a.shape, "--steps", str(a.warmup + a.steps),
         "--dtype", dtype], folder / "peft.log")
    run = json.loads(out.strip().splitlines()[-1])
    tokens = SHAPES[a.shape][4] * SHAPES[a.shape][5]
    return dict(speeds=[tokens / s for s in run["seconds"]], losses=run["losses"], norms=run["norms"], peak=peak)


def hone(a, folder, dtype):
    rows, length = SHAPES[a.shape][4:]
    output = folder / f"hone-{dtype}"
    settings = dict(
        model_name_or_path=folder / f"model-{dtype}", adapter_name_or_path=folder / "adapter", stage="sft",
        finetuning_type="lora", dataset=folder / "batches.jsonl", dataset_format="tokenized", cutoff_len=length,
        per_device_train_batch_size=rows, gradient_accumulation_steps=1, max_steps=a.warmup + a.steps,
        learning_rate="1.0e-4", lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0,
        disable_shuffling="true", compute_dtype=dtype, logging_steps=1, save_strategy='"no"', plot_loss="false",
        threads=os.environ["THREADS"], output_dir=output, overwrite_output_dir="true")
    yaml = folder / f"hone-{dtype}.yaml"
    yaml.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    shutil.rmtree(output, ignore_errors=True)
    _, peak = measured([str(ROOT / "hone"), "train", str(yaml)], folder / "hone.log")
    log = [json.loads(line) for line in open(output / "trainer_log.jsonl")]
    log = [line for line in log if "loss" in line]
    return dict(speeds=[line["throughput"] for line in log], losses=[line["loss"] for line in log],
                norms=[line["grad_norm"] for line in log], peak=peak)


def difference(these, those):
    if len(these) != len(those):
        sys.exit(f"side_by_side: {len(these)} steps logged by one side and {len(those)} by the other")
    return max(abs(x - y) / abs(y) for x, y in zip(these, those))


def race(a, folder, dtype):
    """Alternates the two sides; medians over all measured steps of all rounds."""
    runs = dict(peft=[], hone=[])
    for i in range(a.rounds):
        for side, start in (("peft", peft), ("hone", hone)):
            run = start(a, folder, dtype)
            runs[side].append(run)
            speed = statistics.median(run["speeds"][a.warmup :])
            print(f"{a.shape} {dtype} round {i + 1} {side}: {speed:9.1f} tokens/s  {run['peak'] / 2**20:7.1f} MiB  "
                  f"loss {run['losses'][0]:.6f} .. {run['losses'][-1]:.6f}", flush=True)
    speed = {s: statistics.median(v for r in rs for v in r["speeds"][a.warmup :]) for s, rs in runs.items()}
    peak = {s: statistics.median(r["peak"] for r in rs) for s, rs in runs.items()}
    losses = max(difference(h["losses"], p["losses"]) for h, p in zip(runs["hone"], runs["peft"]))
    norms = max(difference(h["norms"], p["norms"]) for h, p in zip(runs["hone"], runs["peft"]))
    agree = losses <= TOLERANCE[dtype]
    print(f"{a.shape} {dtype}: hone {speed['hone']:.1f} tokens/s, peft {speed['peft']:.1f}: ratio "
          f"{speed['hone'] / speed['peft']:.3f};  peak {peak['hone'] / 2**20:.1f} of {peak['peft'] / 2**20:.1f} MiB: "
          f"ratio {peak['hone'] / peak['peft']:.3f}")
    print(f"{a.shape} {dtype}: largest relative difference of losses {losses:.2e} "
          f"({'within' if agree else 'ABOVE'} {TOLERANCE[dtype]:g}), of gradient norms {norms:.2e}", flush=True)
    row = dict(
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), cpu=cpu(),
        threads=os.environ["THREADS"], commit=commit(), shape=a.shape, dtype=dtype, rounds=a.rounds, steps=a.steps,
        hone_tokens_s=f"{speed['hone']:.1f}", peft_tokens_s=f"{speed['peft']:.1f}",
        speed_ratio=f"{speed['hone'] / speed['peft']:.3f}", hone_peak_mib=f"{peak['hone'] / 2**20:.1f}",
        peft_peak_mib=f"{peak['peft'] / 2**20:.1f}", peak_ratio=f"{peak['hone'] / peak['peft']:.3f}",
        loss_difference=f"{losses:.3e}", norm_difference=f"{norms:.3e}", against=versions())
    return row, agree


def cpu():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def commit():
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"


def versions():
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "peft"))


def append(row):
    file = ROOT / "bench" / "results" / "side_by_side.csv"
    file.parent.mkdir(exist_ok=True)
    fresh = not file.exists()
    with open(file, "a", newline="") as out:
        writer = csv.DictWriter(out, row.keys(), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def main():
    parser = argparse.ArgumentParser(prog="side_by_side.sh")
    parser.add_argument("shape", nargs="?", choices=SHAPES, default="15m")
    parser.add_argument("--dtypes", default="fp32,bf16", help="fp32, bf16 or both (default)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each run (5)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (2)")
    a = parser.parse_args()
    folder = ROOT / "target" / "side_by_side" / a.shape
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = str(a.warmup + a.steps)
    measured([sys.executable, PEFT_STEP, "make", str(folder), "--shape", a.shape, "--steps", steps], folder / "make.log")
    all_agree = True
    for dtype in a.dtypes.split(","):
        row, agree = race(a, folder, dtype)
        all_agree = all_agree and agree
        append(row)
    if not all_agree:
        sys.exit("side_by_side: the two sides did not reach the same losses")


if __name__ == "__main__":
    main()
