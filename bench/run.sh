#!/bin/sh
# run.sh [quick] [JMH arguments] - builds the benches, runs them and appends rows to bench/results/<name>.csv
#
#   bench/run.sh                        everything: 2 forks of 3 + 5 seconds each
#   bench/run.sh quick                  1 fork of 1 + 2 half seconds, the 15m shape only
#   bench/run.sh quick 'LinearBench.*'  some benches; what follows goes to JMH as it stands
#
# Environment: THREADS  threads of libhone and of the yardstick (as many as there are cores)
#              NAME     of the CSV file (cpu)
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$ROOT"
THREADS=${THREADS:-$(nproc)}
OUT=target/bench/run
export OMP_NUM_THREADS="$THREADS"

options=
if [ "${1:-}" = quick ]; then
  shift
  options='-f 1 -wi 1 -w 500ms -i 2 -r 500ms -p shape=15m'
fi

JAVA_HOME=$(./hone jdk)
export JAVA_HOME
mkdir -p target/bench "$ROOT/bench/results"
echo "run.sh: building ..." >&2
mvn -B -ntp -P bench package >target/bench/build.log 2>&1 || { cat target/bench/build.log >&2; exit 1; }
mkdir -p "$OUT"
${CC:-cc} -O3 -march=native -ffp-contract=fast -fopenmp -o "$OUT/roofline" bench/roofline.c
library=$(ls "$ROOT"/target/bench/classes/native/*/libhone.*)

# The yardstick is measured before and after, and its best counts: the machine's state may change in between.
"$OUT/roofline" >"$OUT/roofline.txt"
# shellcheck disable=SC2086
"$JAVA_HOME/bin/java" -jar target/hone-bench.jar -prof gc -foe true -rf json -rff "$OUT/jmh.json" $options \
  -jvmArgsPrepend "-Dhone.bench.threads=$THREADS -Dhone.library=$library" "$@"
"$OUT/roofline" >>"$OUT/roofline.txt"

cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | sed -n 1p)
commit=$(sh bench/commit.sh)
"$JAVA_HOME/bin/java" --enable-native-access=ALL-UNNAMED "-Dhone.library=$library" -cp target/hone-bench.jar \
  dev.hone.bench.Rows "$OUT/jmh.json" "$OUT/roofline.txt" "bench/results/${NAME:-cpu}.csv" \
  "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${cpu:-$(uname -m)}" "$THREADS" "$commit"
