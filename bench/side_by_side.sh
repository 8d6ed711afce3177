#!/bin/sh
# side_by_side.sh [15m|100m] [options] - PEFT + torch and Hone train the same adapter on the same batches, alternately
#
#   HONE_PYTHON=python bench/side_by_side.sh 15m
#   HONE_PYTHON=python bench/side_by_side.sh 100m --dtypes bf16 --rounds 5 --steps 8
#   HONE_PYTHON=python bench/side_by_side.sh 100m --dtypes nf4      Hone's NF4 base against its own bf16
#
# Prints each run, then the medians of tokens/s and peak memory and their ratios, and appends them to
# bench/results/side_by_side.csv. Fails when the two do not reach the same losses. --help lists the options.
# HONE_PYTHON is a Python with torch, transformers and peft; THREADS the threads of both (as many as there are cores).
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
if [ -z "${HONE_PYTHON:-}" ]; then
  echo "side_by_side.sh: set HONE_PYTHON to a Python with torch, transformers and peft, which Hone is to race" >&2
  exit 3
fi
if ! "$HONE_PYTHON" -c 'import torch, transformers, peft' 2>/dev/null; then
  echo "side_by_side.sh: $HONE_PYTHON cannot import torch, transformers and peft; install them there" >&2
  exit 3
fi
THREADS=${THREADS:-$(nproc)}
export THREADS OMP_NUM_THREADS="$THREADS"
"$ROOT/hone" --version >/dev/null # builds when sources are newer, so that no measured run has to
exec "$HONE_PYTHON" "$ROOT/bench/side_by_side.py" "$@"
