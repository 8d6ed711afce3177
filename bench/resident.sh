#!/bin/sh
# resident.sh RUN.yaml [key=value ...] - how much memory `hone train` has resident, as Linux counts it
#
#   bench/resident.sh 1b.yaml max_steps=1 ram_limit=2GB
#
# Prints the run's output, then in MB: VmHWM (the most that was resident), and the most of RssAnon (what the process made: buffers, Java)
# and of RssFile (mapped files: the base, code), looked at every 20 ms. The latter two may have peaked at different moments.
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -r /proc/self/status ] || { echo "resident.sh: no /proc/self/status here" >&2; exit 3; }
"$ROOT/hone" --version >/dev/null # builds when sources are newer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
began=$(date +%s)
"$ROOT/hone" train "$@" &
pid=$!
while kill -0 "$pid" 2>/dev/null; do
  grep -E '^(VmHWM|RssAnon|RssFile):' "/proc/$pid/status" >>"$work/rows" 2>/dev/null || true
  sleep 0.02
done
status=0
wait "$pid" || status=$?
awk -v s=$(($(date +%s) - began)) '
  { kb[$1] = $2 > kb[$1] ? $2 : kb[$1] }
  END { printf "VmHWM %.0f MB, RssAnon at most %.0f MB, RssFile at most %.0f MB, %d s\n",
        kb["VmHWM:"] * 1024 / 1e6, kb["RssAnon:"] * 1024 / 1e6, kb["RssFile:"] * 1024 / 1e6, s }' "$work/rows"
exit "$status"
