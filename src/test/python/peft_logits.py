"""Logits of a model folder, with a PEFT adapter on it where one is given, by transformers and PEFT in fp32.

usage: peft_logits.py MODEL ADAPTER|- IDS OUT      IDS is a JSON list of token ids; OUT receives (T, V) float32, little-endian
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

model_folder, adapter, ids, out = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
if adapter != "-":
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, adapter)
model.eval()
with torch.no_grad():
    logits = model(input_ids=torch.tensor([json.loads(ids)])).logits[0]
logits.numpy().astype("<f4").tofile(out)
