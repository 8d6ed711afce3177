#!/bin/sh
# gpu.sh [7b|tiny] - all that is to be proven and measured on a card, in one call on a machine that has an NVIDIA driver
#
#   bench/carry.sh                          # where Hone can be built: leaves .carry
#   OUT=results bench/gpu.sh                # on the machine with the card: this checkout, with .carry
#   HONE_CUDA_DRIVER=.../libcuda.so.1 bench/gpu.sh tiny    # the whole script on the stand-in driver
#
# In turn: hone doctor; hone selftest; the golden models; torch's times, where a python3 has torch and sees the card;
# each kernel's time and a QLoRA step with Hone's own kernels, and once more with cuBLASLt and NVRTC where they are
# found; PEFT's step, where .carry has bench_peft_gpu.py; `hone train` of whole shapes with random weights, resident and
# streamed. A part that fails or takes too long does not keep the others from running.
#
# Leaves in $OUT (target/gpu): gpu.csv, whose rows belong into bench/results/gpu.csv, and a log of each part. Exit code
# 0: every part that could run passed; 1: one did not; 3: there is no driver or no card.
# Environment: CARRY (.carry)  OUT  HONE_CUDA_DRIVER  HONE_PYTHON (python3)  BUDGET seconds for all (570)
set -u

ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
SHAPE=${1:-7b}
CARRY=${CARRY:-$ROOT/.carry}
OUT=${OUT:-$ROOT/target/gpu}
PYTHON=${HONE_PYTHON:-python3}
BUDGET=${BUDGET:-570}
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd -P)

for file in runtime.tar.xz bench.jar commit; do
  [ -f "$CARRY/$file" ] || { echo "gpu.sh: no $CARRY/$file; make it with bench/carry.sh" >&2; exit 1; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xJf "$CARRY/runtime.tar.xz" ||
  { echo "gpu.sh: cannot unpack runtime.tar.xz (is xz there?)" >&2; exit 1; }
export HONE_CACHE="$work/cache"

# A program of its own, which timeout can end.
hone=$work/hone
cat >"$hone" <<EOF
#!/bin/sh
exec "$work/runtime/bin/java" -Xmx4g -XX:+UseSerialGC --enable-native-access=ALL-UNNAMED -cp "$CARRY/bench.jar" "\$@"
EOF
chmod +x "$hone"

failed=
began=$(date +%s)
# part NAME SECONDS COMMAND...: its output to the screen and to $OUT/NAME.log; all parts together stay within $BUDGET
part() {
  name=$1 limit=$2
  shift 2
  left=$((BUDGET - $(date +%s) + began))
  [ "$limit" -lt "$left" ] || limit=$left
  [ "$limit" -gt 0 ] || { failed="$failed $name"; echo "== $name: no time is left of $BUDGET s"; return 1; }
  echo "== $name"
  timeout -k 5 "$limit" "$@" >"$OUT/$name.log" 2>&1
  status=$?
  cat "$OUT/$name.log"
  [ "$status" -ne 124 ] || echo "== $name: ended after $limit s"
  [ "$status" -eq 0 ] || { failed="$failed $name"; echo "== $name: exit code $status"; }
  return "$status"
}

# ---- is there a card? ------------------------------------------------------------------------------------------------

part doctor 60 "$hone" dev.hone.cli.Main doctor
if ! part open 60 "$hone" dev.hone.bench.CudaBench what=none out="$work/none.csv" \
  ${HONE_CUDA_DRIVER:+"driver=$HONE_CUDA_DRIVER"} products=ptx kernels=ptx; then
  echo "gpu.sh: no card to measure; nothing was written to $OUT/gpu.csv" >&2
  exit 3
fi
version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | sed -n 1p)
date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
commit=$(cat "$CARRY/commit")

# ---- right? ----------------------------------------------------------------------------------------------------------

part selftest 150 "$hone" dev.hone.cli.Main selftest --device cuda --cuda-products ptx --cuda-kernels ptx
part golden 90 "$hone" dev.hone.bench.CudaGolden "$ROOT/src/test/resources/golden" \
  ${HONE_CUDA_DRIVER:+"$HONE_CUDA_DRIVER"}

# ---- fast? -----------------------------------------------------------------------------------------------------------

# rows NAME SECONDS BY WHO: rows of CudaBench in $OUT/gpu.csv; WHO is ptx, Hone's own kernels alone, or auto
rows() {
  part "$1" "$2" "$hone" dev.hone.bench.CudaBench out="$OUT/gpu.csv" against="$OUT/torch.csv" shape="$SHAPE" by="$3" \
    products="$4" kernels="$4" date="$date" commit="$commit" version="$version" \
    ${HONE_CUDA_DRIVER:+"driver=$HONE_CUDA_DRIVER"}
}

rm -f "$OUT/gpu.csv" "$OUT/torch.csv"
torch=no
if "$PYTHON" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  torch=yes
  part torch 90 "$PYTHON" "$ROOT/bench/torch_kernels.py" "$OUT/torch.csv" --shape "$SHAPE" --date "$date" \
    --commit "$commit" --version "$version"
  # torch brings cuBLASLt and NVRTC; a system without a toolkit has them there alone.
  libraries=$("$PYTHON" -c 'import nvidia, os; print(os.path.dirname(nvidia.__path__[0] + "/"))' 2>/dev/null)
  found=$(find "$libraries" -name 'libnvrtc.so.1[23]' 2>/dev/null | sed -n 1p)
  [ -z "$found" ] || export HONE_NVRTC="$found"
  found=$(find "$libraries" -name 'libcublasLt.so.1[23]' 2>/dev/null | sed -n 1p)
  [ -z "$found" ] || export HONE_CUBLASLT="$found"
else
  echo "== torch: no $PYTHON with torch that sees the card; products and attention are held against nothing"
fi
rows kernels 240 hone ptx
if "$hone" dev.hone.cli.Main doctor | grep -Eq '^(nvrtc|cublaslt) +[0-9]'; then
  rows rivals 120 hone+rivals auto
else
  echo "== rivals: neither NVRTC nor cuBLASLt is found"
fi
if [ "$torch" = yes ] && [ -f "$CARRY/bench_peft_gpu.py" ] && [ "$SHAPE" = 7b ]; then
  part peft 150 "$PYTHON" "$CARRY/bench_peft_gpu.py" --shape llama-2-7b --cases 1x2048 \
    --peers nf4 --ckpt on --budget-s 120 --out "$OUT"
else
  echo "== peft: needs torch on the card, the 7b shape and bench_peft_gpu.py in $CARRY"
fi

# ---- whole runs: the plan against the card ---------------------------------------------------------------------------

# train NAME SECONDS [key=value ...]: six steps of hone train; its log has the plan, what else is on the card, tokens/s
train() {
  name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$hone" dev.hone.cli.Main train "$work/train.yaml" "output_dir=$work/$name" "$@" \
    ${HONE_CUDA_DRIVER:+"cuda_driver=$HONE_CUDA_DRIVER"}
}

length=2048
[ "$SHAPE" = 7b ] || length=48
awk -v n="$length" 'BEGIN { for (row = 0; row < 6; row++) { ids = ""
  for (i = 0; i < n; i++) ids = ids (i ? ", " : "") 3 + (row * 7919 + i * 104729) % 200
  print "{\"input_ids\": [" ids "], \"labels\": [" ids "]}" } }' >"$work/rows.jsonl"
cat >"$work/train.yaml" <<EOF
model_name_or_path: $ROOT/src/test/resources/golden/models/llama
dataset: $work/rows.jsonl
device: cuda
quantization_bit: 4
lora_rank: 16
cutoff_len: $length
per_device_train_batch_size: 1
max_steps: 6
logging_steps: 1
save_strategy: "no"
EOF
if [ "$SHAPE" = 7b ]; then
  for model in llama-2-7b llama-2-13b; do
    train "$model-resident" 90 "model_name_or_path=like:$model" weight_placement=resident
    train "$model-streamed" 60 "model_name_or_path=like:$model" weight_placement=streamed
  done
  # 36 GB of layer cache on the disk, which take minutes to make: only where time and room are left.
  [ "$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1048576) }')" -lt 45 ] ||
    train llama-3-70b-8gb 300 model_name_or_path=like:llama-3-70b vram_limit=8GB ram_limit=128GB
else
  train resident 60 weight_placement=resident
  train streamed 60 weight_placement=streamed activation_placement=save_all
fi

if [ -f "$OUT/torch.csv" ] && [ -f "$OUT/gpu.csv" ]; then
  sed 1d "$OUT/torch.csv" >>"$OUT/gpu.csv"
fi
if [ -n "$failed" ]; then
  echo "gpu.sh: failed:$failed" >&2
  exit 1
fi
echo "gpu.sh: all parts passed; append the rows of $OUT/gpu.csv to bench/results/gpu.csv"
