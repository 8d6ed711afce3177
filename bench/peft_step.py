"""The PEFT + torch side of bench/side_by_side.sh: LoRA r = 16 on all linear layers of a random llama, on the CPU.

peft_step.py make  DIR --shape 15m --steps N                   model-fp32/, model-bf16/, adapter/, batches.jsonl
peft_step.py train DIR --shape 15m --steps N --dtype fp32|bf16   one line of JSON: seconds, loss and grad_norm of each step

A step is forward, loss, backward, clipping at 1.0 and AdamW (lr 1e-4, weight decay 0.01), eager Python with the sdpa attention that
transformers takes by default. bf16 is what PEFT users run: base and activations in bfloat16 under torch.autocast, adapters in fp32.
"""
import argparse
import json
import os
import time

SHAPES = {  # hidden, layers, heads, ffn, rows, length
    "15m": (288, 6, 6, 768, 4, 256),
    "100m": (768, 12, 12, 2048, 1, 512),
}
VOCAB = 32000


def make(folder, shape, steps):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    hidden, layers, heads, ffn, rows, length = SHAPES[shape]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, intermediate_size=ffn, max_position_embeddings=1024, tie_word_embeddings=True,
        use_cache=False)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(f"{folder}/model-fp32")
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # not zero, so that gradients reach A from the first step on
            torch.nn.init.normal_(parameter, std=0.02)
    adapted.save_pretrained(f"{folder}/adapter")
    adapted.unload().to(torch.bfloat16).save_pretrained(f"{folder}/model-bf16")
    with open(f"{folder}/batches.jsonl", "w") as out:
        for _ in range(steps * rows):
            ids = torch.randint(0, VOCAB, (length,)).tolist()
            out.write(json.dumps(dict(input_ids=ids, labels=ids)) + "\n")


def train(folder, shape, steps, dtype):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(os.environ["THREADS"]))
    rows = SHAPES[shape][4]
    kind = torch.float32 if dtype == "fp32" else torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(f"{folder}/model-{dtype}", dtype=kind)
    model = PeftModel.from_pretrained(base, f"{folder}/adapter", is_trainable=True)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)
    with open(f"{folder}/batches.jsonl") as lines:
        ids = torch.tensor([json.loads(line)["input_ids"] for line in lines])
    seconds, losses, norms = [], [], []
    for step in range(steps):
        batch = ids[step * rows : (step + 1) * rows]
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
        losses.append(float(loss.detach()))
        norms.append(float(norm))
    print(json.dumps(dict(seconds=seconds, losses=losses, norms=norms)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "train"))
    parser.add_argument("folder")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    a = parser.parse_args()
    if a.what == "make":
        make(a.folder, a.shape, a.steps)
    else:
        train(a.folder, a.shape, a.steps, a.dtype)
