#!/bin/sh
# startup.sh RUN.yaml [runs] [key=value ...] - time from launching `hone train` to the start of its first step
#
#   bench/startup.sh examples/quickstart.yaml        5 runs after one that warms the caches
#   bench/startup.sh 7b.yaml 3 quantization_bit=4
#
# The first step starts when the plan's last line, `device ...`, has been printed; the run is then stopped. Prints each
# run and the median, and appends a row to bench/results/startup.csv. The output folder is a temporary one.
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
yaml=$1
shift
runs=5
case ${1:-} in
  [1-9] | [1-9][0-9]) runs=$1 && shift ;;
esac
case $(date +%N) in
  *N*) echo "startup.sh: date has no nanoseconds here; install GNU coreutils" >&2 && exit 3 ;;
esac
"$ROOT/hone" --version >/dev/null # builds when sources are newer, so that no measured run has to
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkfifo "$work/out"

# Seconds to the first step of one run.
once() {
  began=$(date +%s%N)
  "$ROOT/hone" train "$yaml" "$@" "output_dir=$work/result" overwrite_output_dir=true >"$work/out" 2>&1 &
  pid=$!
  reached=
  : >"$work/said"
  while IFS= read -r line; do
    echo "$line" >>"$work/said"
    case $line in
      'device '*) reached=$(date +%s%N) && break ;;
    esac
  done <"$work/out"
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  [ -n "$reached" ] || { echo "startup.sh: the run ended before its first step:" >&2; cat "$work/said" >&2; exit 1; }
  awk -v ns=$((reached - began)) 'BEGIN { printf "%.3f\n", ns / 1e9 }'
}

once "$@" >/dev/null
: >"$work/seconds"
for _ in $(seq "$runs"); do
  seconds=$(once "$@") # a failed run ends the script, which a pipe would hide
  echo "$seconds" | tee -a "$work/seconds"
done
median=$(sort -n "$work/seconds" | awk '{ s[NR] = $1 } END { print (s[int((NR + 1) / 2)] + s[int(NR / 2) + 1]) / 2 }')
echo "$yaml: median $median s from launch to first step, $runs runs"
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | sed -n 1p)
csv=$ROOT/bench/results/startup.csv
[ -f "$csv" ] || echo date,cpu,threads,commit,run,runs,median_s >"$csv"
machine=$(date -u +%Y-%m-%dT%H:%M:%SZ),${cpu:-$(uname -m)},$(nproc),$(sh "$ROOT/bench/commit.sh")
echo "$machine,$(basename "$yaml"),$runs,$median" >>"$csv"
