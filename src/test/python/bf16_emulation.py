"""What each rounding to bf16 turns the LoRA gradients by: the table of docs/numerics.md.

usage: bf16_emulation.py GOLDEN      the folder with models/ and qlora/, such as src/test/resources/golden

The golden models computed in f32, with a rounding to bf16 at chosen places, forward and backward as the engine does it.
Prints 1 - cosine against the golden gradients in units of 1e-5, on average over tensors and cases, and the worst
cosine, for llama, qwen2 and qwen2 in NF4.
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from bf16_gradients import weights
from safetensors.torch import load_file

MODELS = ("models/llama", "models/qwen2", "qlora/qwen2_nf4")
CASES = ("plain", "padded", "packed")

# Each place by its name. "q", "k", .. "down" are outputs of linear layers, "branch.q" the adapter's part of one.
WEIGHTS = {"embedding", "matrices", "head"}
NORMS = {"normed"}
STREAM = {"embedded", "branch.o", "branch.down", "o", "down", "mid", "next"}
ATTENTION = {"branch.q", "branch.k", "branch.v", "q", "k", "v", "turned", "softmax", "attended"}
LORA = {"a", "b", "u"}
MLP = {"branch.gate", "branch.up", "gate", "up", "product"}
BACKWARD = {"backward"}
OTHERS = {"logits"}
ENGINE = WEIGHTS | NORMS | STREAM | ATTENTION | LORA | MLP | BACKWARD | OTHERS
# The CPU rounds an adapter's branch before it adds the product to it; on a card sums begin with it.
BRANCHES = {place for place in ENGINE if place.startswith("branch.")}
# What was rounded besides before the branch went first, and before norms were rounded once.
TWICE = {"base"}
NORMS_TWICE = {"xhat"}


def bf16(x):
  return x.to(torch.bfloat16).to(x.dtype)


class Round(torch.autograd.Function):
  """bf16(x) or x forward, bf16(gradient) or the gradient backward."""

  @staticmethod
  def forward(ctx, x, forward, backward):
    ctx.backward_too = backward
    return bf16(x) if forward else x

  @staticmethod
  def backward(ctx, gradient):
    return bf16(gradient) if ctx.backward_too else gradient, None, None


class Attention(torch.autograd.Function):
  """q, k, v (H,M,D) to o, and back by delta = do . o as the kernels have it."""

  @staticmethod
  def forward(ctx, q, k, v, seen, scale, places):
    s = (scale * q @ k.transpose(-1, -2)).masked_fill(~seen, float("-inf"))
    e = torch.exp(s - s.max(-1, keepdim=True).values)
    total = e.sum(-1, keepdim=True)
    o = (bf16(e) if "softmax" in places else e) @ v / total
    o = bf16(o) if "attended" in places else o
    ctx.save_for_backward(q, k, v, e / total, o)
    ctx.scale, ctx.places = scale, places
    return o

  @staticmethod
  def backward(ctx, do):
    q, k, v, p, o = ctx.saved_tensors
    rounded = bf16 if "backward" in ctx.places else lambda x: x
    do = rounded(do)
    ds = rounded(p * (do @ v.transpose(-1, -2) - (do * o).sum(-1, keepdim=True)))
    dq, dk = ctx.scale * ds @ k, ctx.scale * ds.transpose(-1, -2) @ q
    dv = (bf16(p) if "softmax" in ctx.places else p).transpose(-1, -2) @ do
    return rounded(dq), rounded(dk), rounded(dv), None, None, None


class Model:
  """A golden Llama or Qwen2."""

  def __init__(self, folder):
    self.config = json.loads((folder / "config.json").read_text())
    self.weights = {name: t.float() for name, t in weights(folder).items()}
    self.weights.setdefault("lm_head.weight", self.weights["model.embed_tokens.weight"])
    adapter = json.loads((folder / "golden/adapter_init/adapter_config.json").read_text())
    self.scale = adapter["lora_alpha"] / adapter["r"]
    self.adapter = load_file(folder / "golden/adapter_init/adapter_model.safetensors")
    self.inputs = load_file(folder / "golden/forward.safetensors")
    self.golden = load_file(folder / "golden/lora_grads.safetensors")

  def stream(self, case):
    """ids, targets, positions and document of each token, the documents end to end without padding."""
    ids, labels, positions = (self.inputs[f"{case}.{key}"] for key in ("input_ids", "labels", "position_ids"))
    if case == "packed":
      ids, labels, positions = ids[0], labels[0], positions[0]
      document = (positions == 0).cumsum(0)
    else:
      kept = self.inputs[f"{case}.attention_mask"].bool()
      document = torch.arange(len(ids))[:, None].expand_as(ids)[kept]
      positions = torch.cat([torch.arange(int(row.sum())) for row in kept])
      ids, labels = ids[kept], labels[kept]
    targets = torch.cat((labels[1:], torch.tensor([-100])))
    targets[:-1][document[1:] != document[:-1]] = -100
    return ids, targets, positions, document

  def gradients(self, case, places):
    config, W = self.config, self.weights
    ids, targets, positions, document = self.stream(case)
    M, H, KV = len(ids), config["num_attention_heads"], config["num_key_value_heads"]
    D = config["hidden_size"] // H
    trained = {name: t.clone().requires_grad_() for name, t in self.adapter.items()}
    angle = positions[:, None] / config["rope_theta"] ** (torch.arange(0, D, 2) / D)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    token = torch.arange(M)
    seen = (document[:, None] == document) & (token <= token[:, None])

    def at(place, x, back=False):
      return Round.apply(x, place in places, back and "backward" in places)

    def weight(name, place):
      return bf16(W[name]) if place in places else W[name]

    def norm(x, name):
      xhat = at("xhat", x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]))
      return at("normed", xhat * W[name + ".weight"], True)

    def linear(x, name):
      place = name.rpartition(".")[2].removesuffix("_proj")
      a, b = (trained[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
      branch = self.scale * at("u", x @ at("a", a).T, True) @ at("b", b).T
      base = x @ weight(name + ".weight", "matrices").T + W.get(name + ".bias", 0)
      if "base" in places:
        return at(place, at("base", base) + branch)
      return at(place, base + at("branch." + place, branch))

    def turned(x):
      x1, x2 = x[..., : D // 2], x[..., D // 2:]
      return at("turned", torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1), True)

    x = at("embedded", weight("model.embed_tokens.weight", "embedding")[ids], True)
    for layer in range(config["num_hidden_layers"]):
      name = f"model.layers.{layer}."
      h = norm(x, name + "input_layernorm")
      q, k, v = (linear(h, f"{name}self_attn.{p}_proj").view(M, -1, D) for p in "qkv")
      heads = [turned(q), *(t.repeat_interleave(H // KV, 1) for t in (turned(k), v))]
      o = Attention.apply(*(t.transpose(0, 1) for t in heads), seen, D**-0.5, places).transpose(0, 1).reshape(M, -1)
      x = at("mid", x + linear(o, name + "self_attn.o_proj"), True)
      h = norm(x, name + "post_attention_layernorm")
      gate, up = (at("", linear(h, f"{name}mlp.{p}_proj"), True) for p in ("gate", "up"))
      x = at("next", x + linear(at("product", F.silu(gate) * up, True), name + "mlp.down_proj"), True)
    logits = at("logits", norm(x, "model.norm") @ weight("lm_head.weight", "head").T, True)
    loss = F.cross_entropy(logits[targets != -100], targets[targets != -100])
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values()))))

  def distances(self, places):
    """1 - cosine of each tensor of each case."""
    for case in CASES:
      for name, gradient in self.gradients(case, places).items():
        a, b = gradient.double().flatten(), self.golden[f"{case}/{name}"].double().flatten()
        yield 1 - float(a @ b / (a.norm() * b.norm()))


ROWS = {
    "nothing": set(),
    "weights, embedding, head": WEIGHTS,
    "outputs of norms": NORMS,
    "residual stream, its branches": STREAM,
    "q, k, v, softmax, o": ATTENTION,
    "LoRA: A, B, u": LORA,
    "gate, up, product": MLP,
    "backward": BACKWARD,
    "all: the CPU": ENGINE,
    "all but branches: a card": ENGINE - BRANCHES,
    "all but weights": ENGINE - WEIGHTS,
    "all but backward": ENGINE - BACKWARD,
    "all but the first of q and k": ENGINE - {"q", "k", "branch.q", "branch.k"},
    "all but residual stream": ENGINE - STREAM,
    "all but stream and embedding": ENGINE - STREAM - {"embedding"},
    "all but outputs of norms": ENGINE - NORMS,
    "all and x rstd": ENGINE | NORMS_TWICE,
    "all and y twice": ENGINE | TWICE,
    "all and both": ENGINE | NORMS_TWICE | TWICE,
}

if __name__ == "__main__":
  torch.set_num_threads(1)
  models = [Model(Path(sys.argv[1]) / name) for name in MODELS]
  print(f"{'':32}", *(f"{name:>20}" for name in MODELS))
  for row, places in ROWS.items():
    cells = []
    for model in models:
      each = list(model.distances(places))
      cells.append(f"{sum(each) / len(each) * 1e5:11.1f}  {1 - max(each):.5f}")
    print(f"{row:32}", *cells, flush=True)
