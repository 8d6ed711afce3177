"""How far transformers and PEFT in bf16 are from themselves in fp32: the yardstick of CardGoldenTest.

usage: bf16_gradients.py GOLDEN      the folder with models/ and qlora/, such as src/test/resources/golden

Prints for every golden model, in fp32 and in bf16 (the base in bf16, the adapters in f32 as PEFT keeps them, eager
attention), how far the LoRA gradients are from the golden ones: 1 - cosine, of the worst tensor and on average over
tensors and cases.
"""
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

MODELS = ("models/llama", "models/qwen2", "models/qwen3", "models/mistral", "models/gemma2",
          "models/llama_bf16_sharded", "qlora/llama_nf4_dq", "qlora/qwen2_nf4")


def dequantized(name, tensors):
  """A weight of a bitsandbytes checkpoint in f32, by its own tables."""
  state = json.loads(bytes(tensors[f"{name}.quant_state.bitsandbytes__nf4"].tolist()))
  packed = tensors[name].flatten()
  codes = torch.stack((packed >> 4, packed & 15), 1).flatten().long()
  absmax = tensors[f"{name}.absmax"]
  if absmax.dtype == torch.uint8:
    nested = tensors[f"{name}.nested_quant_map"][absmax.long()]
    scale = tensors[f"{name}.nested_absmax"].repeat_interleave(state["nested_blocksize"])[: nested.numel()]
    absmax = nested * scale + state["nested_offset"]
  values = tensors[f"{name}.quant_map"][codes] * absmax.repeat_interleave(state["blocksize"])[: codes.numel()]
  return values.reshape(state["shape"])


def weights(folder):
  tensors = {}
  for file in folder.glob("model*.safetensors"):
    tensors |= load_file(file)
  quantized = [name.removesuffix(".quant_map") for name in tensors if name.endswith(".quant_map")]
  parts = tuple(name + "." for name in quantized)
  plain = {name: t for name, t in tensors.items() if not name.startswith(parts)} if parts else tensors
  return plain | {name: dequantized(name, tensors) for name in quantized}


def model_of(folder, dtype):
  config = AutoConfig.from_pretrained(folder)
  config.use_cache = False
  if hasattr(config, "quantization_config"):
    del config.quantization_config
  model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
  missing, unexpected = model.load_state_dict(weights(folder), strict=False)
  assert not unexpected and all(name == "lm_head.weight" for name in missing), (missing, unexpected)
  model.tie_weights()
  return PeftModel.from_pretrained(model.to(dtype), folder / "golden/adapter_init", is_trainable=True).eval()


def distances(folder, dtype):
  """1 - cosine of each tensor of each case."""
  model = model_of(folder, dtype)
  forward = load_file(folder / "golden/forward.safetensors")
  golden = load_file(folder / "golden/lora_grads.safetensors")
  trained = {name.replace(".default.", "."): p for name, p in model.named_parameters() if p.requires_grad}
  for case in ("plain", "padded", "packed"):
    inputs = {key: forward[f"{case}.{key}"] for key in ("input_ids", "labels", "position_ids")}
    if case != "packed":
      inputs["attention_mask"] = forward[f"{case}.attention_mask"]
    gradients = torch.autograd.grad(model(**inputs).loss, list(trained.values()))
    for name, gradient in zip(trained, gradients):
      a, b = gradient.double().flatten(), golden[f"{case}/{name}"].double().flatten()
      yield 1 - float(a @ b / (a.norm() * b.norm()))


if __name__ == "__main__":
  torch.set_num_threads(1)
  for name in MODELS:
    for dtype in (torch.float32, torch.bfloat16):
      each = list(distances(Path(sys.argv[1]) / name, dtype))
      print(f"{name:26} {str(dtype):15} worst {max(each):.1e}  mean {sum(each) / len(each):.2e}", flush=True)
