#!/bin/sh
# carry.sh [FOLDER] - everything that bench/gpu.sh needs on a machine with an NVIDIA driver and nothing else
#
# Leaves in FOLDER (.carry, which git ignores): runtime.tar.xz, a Java runtime of the few modules that are used;
# bench.jar, Hone and its benches with this platform's libraries; commit, what they were built from. Copy more into it
# for gpu.sh to find: bench_peft_gpu.py, which it runs where there is a Python with torch.
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
FOLDER=${1:-$ROOT/.carry}
cd "$ROOT"
# What Hone uses of the JDK; java.desktop, for plots alone, would double it.
MODULES=java.base,java.logging,java.management,java.xml,jdk.management,jdk.unsupported

JAVA_HOME=$(./hone jdk)
export JAVA_HOME
mkdir -p "$FOLDER" target/bench
echo "carry.sh: building ..." >&2
mvn -B -ntp -P bench package >target/bench/build.log 2>&1 || { cat target/bench/build.log >&2; exit 1; }

# The jar has the tokenizer's library for six platforms; the machine is of this one.
"$JAVA_HOME/bin/java" "$ROOT/bench/Trim.java" target/hone-bench.jar "$FOLDER/bench.jar" "linux-$(uname -m)"

rm -rf target/bench/runtime
"$JAVA_HOME/bin/jlink" --add-modules "$MODULES" --strip-debug --no-header-files --no-man-pages \
  --output target/bench/runtime
# Not compressed inside: xz then sees the classes themselves and makes them smaller than jlink's zip would.
XZ_OPT=-6 tar -C target/bench -cJf "$FOLDER/runtime.tar.xz" runtime
git describe --always --dirty >"$FOLDER/commit" 2>/dev/null || echo unknown >"$FOLDER/commit"
du -h "$FOLDER"/* >&2
