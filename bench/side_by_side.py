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
# NF4 rounds every weight to 4 bits, which is another model; with random weights its loss is near ln V all the same.
NF4_TOLERANCE = 2e-2


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


def hone(a, folder, dtype, quantised=False):
    rows, length = SHAPES[a.shape][4:]
    name = "hone-nf4" if quantised else f"hone-{dtype}"
    output = folder / name
    settings = dict(
        model_name_or_path=folder / f"model-{dtype}", adapter_name_or_path=folder / "adapter", stage="sft",
        finetuning_type="lora", dataset=folder / "batches.jsonl", dataset_format="tokenized", cutoff_len=length,
        per_device_train_batch_size=rows, gradient_accumulation_steps=1, max_steps=a.warmup + a.steps,
        learning_rate="1.0e-4", lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0,
        disable_shuffling="true", compute_dtype=dtype, logging_steps=1, save_strategy='"no"', plot_loss="false",
        threads=os.environ["THREADS"], output_dir=output, overwrite_output_dir="true")
    if quantised:
        settings["quantization_bit"] = 4
    yaml = folder / f"{name}.yaml"
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


def alternate(a, title, sides):
    """Runs the sides in turn, A B A B, and says of each run what it did; for each side its runs."""
    runs = {name: [] for name, _ in sides}
    for i in range(a.rounds):
        for name, start in sides:
            run = start()
            runs[name].append(run)
            speed = statistics.median(run["speeds"][a.warmup :])
            print(f"{title} round {i + 1} {name}: {speed:9.1f} tokens/s  {run['peak'] / 2**20:7.1f} MiB  "
                  f"loss {run['losses'][0]:.6f} .. {run['losses'][-1]:.6f}", flush=True)
    return runs


def medians(a, runs):
    """Over all measured steps of all rounds: tokens/s and peak memory of each side."""
    speed = {s: statistics.median(v for r in rs for v in r["speeds"][a.warmup :]) for s, rs in runs.items()}
    peak = {s: statistics.median(r["peak"] for r in rs) for s, rs in runs.items()}
    return speed, peak


def compared(a, title, runs, first, second, tolerance):
    """Prints the ratios first over second and whether the losses agree; a row of figures, and that."""
    speed, peak = medians(a, runs)
    fastest = {s: max(v for r in rs for v in r["speeds"][a.warmup :]) for s, rs in runs.items()}
    losses = max(difference(x["losses"], y["losses"]) for x, y in zip(runs[first], runs[second]))
    norms = max(difference(x["norms"], y["norms"]) for x, y in zip(runs[first], runs[second]))
    agree = losses <= tolerance
    print(f"{title}: {first} {speed[first]:.1f} tokens/s, {second} {speed[second]:.1f}: ratio "
          f"{speed[first] / speed[second]:.3f};  peak {peak[first] / 2**20:.1f} of {peak[second] / 2**20:.1f} MiB: "
          f"ratio {peak[first] / peak[second]:.3f}")
    print(f"{title}: fastest steps {fastest[first]:.1f} and {fastest[second]:.1f} tokens/s: ratio "
          f"{fastest[first] / fastest[second]:.3f}")
    print(f"{title}: largest relative difference of losses {losses:.2e} "
          f"({'within' if agree else 'ABOVE'} {tolerance:g}), of gradient norms {norms:.2e}", flush=True)
    figures = {
        f"{first}_tokens_s": f"{speed[first]:.1f}", f"{second}_tokens_s": f"{speed[second]:.1f}",
        "speed_ratio": f"{speed[first] / speed[second]:.3f}", f"{first}_peak_mib": f"{peak[first] / 2**20:.1f}",
        f"{second}_peak_mib": f"{peak[second] / 2**20:.1f}", "peak_ratio": f"{peak[first] / peak[second]:.3f}",
        "loss_difference": f"{losses:.3e}", "norm_difference": f"{norms:.3e}",
        f"{first}_fastest_tokens_s": f"{fastest[first]:.1f}", f"{second}_fastest_tokens_s": f"{fastest[second]:.1f}",
        "fastest_ratio": f"{fastest[first] / fastest[second]:.3f}"}
    return figures, agree


def where(a, dtype):
    return dict(
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), cpu=cpu(),
        threads=os.environ["THREADS"], commit=commit(), shape=a.shape, dtype=dtype, rounds=a.rounds, steps=a.steps)


def race(a, folder, dtype):
    title = f"{a.shape} {dtype}"
    runs = alternate(a, title, (("peft", lambda: peft(a, folder, dtype)), ("hone", lambda: hone(a, folder, dtype))))
    figures, agree = compared(a, title, runs, "hone", "peft", TOLERANCE[dtype])
    append("side_by_side.csv", where(a, dtype) | figures | dict(against=versions()))
    return agree


def race_nf4(a, folder):
    """Hone with an NF4 base against Hone with the bf16 base that it was made of."""
    title = f"{a.shape} nf4"
    sides = (("bf16", lambda: hone(a, folder, "bf16")), ("nf4", lambda: hone(a, folder, "bf16", quantised=True)))
    figures, agree = compared(a, title, alternate(a, title, sides), "nf4", "bf16", NF4_TOLERANCE)
    append("nf4.csv", where(a, "nf4") | figures)
    return agree


def cpu():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def commit():
    asked = subprocess.run(["sh", str(ROOT / "bench" / "commit.sh")], capture_output=True, text=True)
    return asked.stdout.strip()


def versions():
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "peft"))


def append(name, row):
    file = ROOT / "bench" / "results" / name
    file.parent.mkdir(exist_ok=True)
    fresh = not file.exists()
    columns = list(row) if fresh else file.read_text().partition("\n")[0].split(",")
    with open(file, "a", newline="") as out:
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def main():
    parser = argparse.ArgumentParser(prog="side_by_side.sh")
    parser.add_argument("shape", nargs="?", choices=SHAPES, default="15m")
    parser.add_argument("--dtypes", default="fp32,bf16", help="of fp32, bf16, nf4: the first two against PEFT, nf4 "
                        "against Hone's own bf16 (fp32,bf16)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each run (5)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (2)")
    a = parser.parse_args()
    dtypes = a.dtypes.split(",")
    if unknown := set(dtypes) - {*TOLERANCE, "nf4"}:
        parser.error(f"--dtypes: {', '.join(sorted(unknown))}; want of fp32, bf16, nf4")
    if min(a.rounds, a.steps) < 1 or a.warmup < 0:
        parser.error("want at least one round and one step")
    folder = ROOT / "target" / "side_by_side" / a.shape
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = str(a.warmup + a.steps)
    make = [sys.executable, PEFT_STEP, "make", str(folder), "--shape", a.shape, "--steps", steps]
    measured(make, folder / "make.log")
    agree = [race_nf4(a, folder) if dtype == "nf4" else race(a, folder, dtype) for dtype in dtypes]
    if not all(agree):
        sys.exit("side_by_side: the two sides did not reach the same losses")


if __name__ == "__main__":
    main()
