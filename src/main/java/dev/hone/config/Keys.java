package dev.hone.config;

import dev.hone.config.Key.Group;
import dev.hone.config.Key.Status;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The table of settings. Names and defaults are those of LLaMA-Factory, PEFT and transformers' TrainingArguments
 * (transformers 5.18, LLaMA-Factory of August 2026); a default that differs says so in its meaning.
 */
final class Keys {
  private static final Map<String, Key<?>> ALL = new LinkedHashMap<>();

  // Model
  static final Key<String> MODEL = required("model_name_or_path", Group.MODEL, Kind.text(),
      "folder of a Hugging Face model, the id of one that is in the Hugging Face cache of this machine, or like:NAME for a built-in shape"
          + " with random NF4 weights (planning, measuring)");
  static final Key<String> ADAPTER = honoured("adapter_name_or_path", Group.MODEL, Kind.text(), null,
      "folder of a PEFT LoRA adapter to continue; its r, alpha and targets replace lora_rank, lora_alpha and lora_target");
  static final Key<String> QUANTIZATION_BIT = honoured("quantization_bit", Group.MODEL, Kind.choice("4", "8", "none"),
      "none",
      "4 keeps the linear layers of the base as NF4 (QLoRA), 8 as int8 with a scale a row; a bnb-4bit checkpoint is NF4 in any case");
  static final Key<Boolean> DOUBLE_QUANTIZATION = honoured("double_quantization", Group.MODEL, Kind.flag(), "true",
      "with quantization_bit 4: also quantise the block maxima (4.127 instead of 4.5 bits per weight)");
  static final Key<String> COMPUTE_DTYPE = honoured("compute_dtype", Group.MODEL, Kind.choice("fp32", "bf16", "fp16"), null,
      "dtype of activations. The CPU: fp32 or bf16; default bf16 when `bf16: true` is set, else fp32, which fp16 means there"
          + " too. A card: fp16 with fp16 and before compute capability 8.0, else bf16. Trained weights are fp32 in any case");
  static final Key<Boolean> BF16 = honoured("bf16", Group.MODEL, Kind.flag(), "false",
      "true means compute_dtype bf16; compute_dtype, when given, wins");
  static final Key<String> ROPE_SCALING = honoured("rope_scaling", Group.MODEL,
      Kind.choice("linear", "dynamic", "yarn", "llama3"), null,
      "stretches RoPE by ceil(cutoff_len / max_position_embeddings) when cutoff_len is longer than the model was made for");

  static final Key<Boolean> FROM_SCRATCH = honoured("train_from_scratch", Group.MODEL, Kind.flag(), "false",
      "start from random weights of the shape that config.json describes, instead of reading weights; needs finetuning_type full");

  // Method
  static final Key<String> STAGE = honoured("stage", Group.METHOD, Kind.choice("sft", "pt"), "sft",
      "sft: supervised fine-tuning; pt: continued pre-training on plain text");
  static final Key<String> FINETUNING_TYPE = honoured("finetuning_type", Group.METHOD, Kind.choice("lora", "full"),
      "lora",
      "lora: low-rank adapters on a frozen base; full: every weight");
  static final Key<Integer> LORA_RANK = honoured("lora_rank", Group.METHOD, Kind.whole(1), "8",
      "rank r of every adapter");
  static final Key<Double> LORA_ALPHA = honoured("lora_alpha", Group.METHOD, Kind.positive(), null,
      "the adapter's output is scaled by alpha / r; default 2 x lora_rank");
  static final Key<Double> LORA_DROPOUT = honoured("lora_dropout", Group.METHOD, Kind.fraction(), "0.0",
      "dropout on the adapter's input, in training only");
  static final Key<List<String>> LORA_TARGET = honoured("lora_target", Group.METHOD, Kind.list(), "all",
      "all: every linear layer but the head; or a list such as q_proj,v_proj");
  static final Key<Boolean> USE_RSLORA = honoured("use_rslora", Group.METHOD, Kind.flag(), "false",
      "scale by alpha / sqrt(r) instead");

  // Data
  static final Key<List<String>> DATASET = required("dataset", Group.DATA, Kind.list(),
      "files (.json, .jsonl) or names of dataset_dir/dataset_info.json, separated by commas");
  static final Key<String> DATASET_DIR = honoured("dataset_dir", Group.DATA, Kind.text(), "data",
      "folder of dataset_info.json and of the files it names");
  static final Key<String> DATASET_FORMAT = honoured("dataset_format", Group.DATA,
      Kind.choice("alpaca", "messages", "sharegpt", "text", "tokenized"), null,
      "form of the rows; default: recognised from their fields");
  static final Key<List<String>> EVAL_DATASET = honoured("eval_dataset", Group.DATA, Kind.list(), null,
      "as dataset, for evaluation; not together with val_size");
  static final Key<String> TEMPLATE = honoured("template", Group.DATA, Kind.text(), null,
      "chat template, named as in LLaMA-Factory; default: the one that fits the model");
  static final Key<Integer> CUTOFF_LEN = honoured("cutoff_len", Group.DATA, Kind.whole(2), "2048",
      "most tokens of a row");
  static final Key<String> OVERLONG = honoured("overlong", Group.DATA, Kind.choice("cut", "cut_end", "drop", "error"),
      "cut",
      "longer rows: cut as LLaMA-Factory does (prompt or answer, whichever is longer), cut at the end, leave out, or stop");
  static final Key<Boolean> PACKING = honoured("packing", Group.DATA, Kind.flag(), null,
      "several rows in one sequence of cutoff_len; rows never see each other. Default: true for stage pt, else false");
  static final Key<Boolean> NEAT_PACKING = honoured("neat_packing", Group.DATA, Kind.flag(), "false",
      "true means packing: true (which is always free of cross-contamination here)");
  static final Key<Boolean> TRAIN_ON_PROMPT = honoured("train_on_prompt", Group.DATA, Kind.flag(), "false",
      "also learn the prompt's tokens");
  static final Key<Boolean> MASK_HISTORY = honoured("mask_history", Group.DATA, Kind.flag(), "false",
      "learn the last answer of a conversation only");
  static final Key<Integer> MAX_SAMPLES = honoured("max_samples", Group.DATA, Kind.whole(1), null,
      "use at most this many rows of each dataset");
  static final Key<Double> VAL_SIZE = honoured("val_size", Group.DATA, Kind.number(0, Double.MAX_VALUE), "0.0",
      "rows kept for evaluation: below 1 a share, from 1 on a count");
  static final Key<List<String>> PROBE_DATASET = honoured("probe_dataset", Group.DATA, Kind.list(), null,
      "rows that are answered greedily before and after training; the share of exact matches is printed. Not trained on");
  static final Key<Boolean> DISABLE_SHUFFLING = honoured("disable_shuffling", Group.DATA, Kind.flag(), "false",
      "keep the order of the files");

  // Training
  static final Key<Integer> TRAIN_BATCH = honoured("per_device_train_batch_size", Group.TRAINING, Kind.whole(1), "8",
      "rows (packed sequences with packing) of a micro-batch");
  static final Key<Integer> ACCUMULATION = honoured("gradient_accumulation_steps", Group.TRAINING, Kind.whole(1), "1",
      "micro-batches of an optimiser step; the loss is divided by the valid tokens of all of them");
  static final Key<Boolean> AUTO_BATCH = honoured("auto_find_batch_size", Group.TRAINING, Kind.flag(), "false",
      "choose the two keys above so that the run fits and is fastest; their product, the rows of an optimiser step, stays");
  static final Key<Double> LEARNING_RATE = honoured("learning_rate", Group.TRAINING, Kind.number(0, Double.MAX_VALUE),
      "5e-5",
      "peak learning rate");
  static final Key<String> LR_SCHEDULER = honoured("lr_scheduler_type", Group.TRAINING,
      Kind.choice("linear", "cosine", "constant", "constant_with_warmup"), "linear",
      "shape of the learning rate after warm-up; constant has no warm-up");
  static final Key<Double> WARMUP_RATIO = honoured("warmup_ratio", Group.TRAINING, Kind.number(0, 1), "0.0",
      "share of all steps that rise from 0, rounded up");
  static final Key<Double> WARMUP_STEPS = honoured("warmup_steps", Group.TRAINING, Kind.number(0, Double.MAX_VALUE),
      "0",
      "steps that rise from 0; wins over warmup_ratio when above 0; below 1 it is a share");
  static final Key<Double> EPOCHS = honoured("num_train_epochs", Group.TRAINING, Kind.positive(), "3.0",
      "passes over the data");
  static final Key<Integer> MAX_STEPS = honoured("max_steps", Group.TRAINING, Kind.whole(-1), "-1",
      "optimiser steps; above 0 it replaces num_train_epochs");
  static final Key<String> OPTIM = honoured("optim", Group.TRAINING,
      Kind.choice("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw", "adamw_apex_fused", "adamw_8bit",
          "adamw_bnb_8bit",
          "paged_adamw", "paged_adamw_32bit", "paged_adamw_8bit"), "adamw_torch",
      "AdamW with decoupled decay. 8bit: its moments in 8 bits as bitsandbytes keeps them, of tensors below 4096 elements and of the"
          + " embedding in fp32; all others: fp32. paged changes nothing, optimizer_placement says where they lie");
  static final Key<Double> WEIGHT_DECAY = honoured("weight_decay", Group.TRAINING, Kind.number(0, Double.MAX_VALUE),
      "0.0",
      "decoupled weight decay; biases and norms are left out, as in transformers");
  static final Key<Double> BETA1 = honoured("adam_beta1", Group.TRAINING, Kind.fraction(), "0.9", "AdamW's first beta");
  static final Key<Double> BETA2 = honoured("adam_beta2", Group.TRAINING, Kind.fraction(), "0.999",
      "AdamW's second beta");
  static final Key<Double> EPSILON = honoured("adam_epsilon", Group.TRAINING, Kind.positive(), "1e-8",
      "added to the root of the second moment");
  static final Key<Double> MAX_GRAD_NORM = honoured("max_grad_norm", Group.TRAINING, Kind.number(0, Double.MAX_VALUE),
      "1.0",
      "clips the gradient of all trained weights together to this L2 norm; 0 does not clip");
  static final Key<Double> LABEL_SMOOTHING = honoured("label_smoothing_factor", Group.TRAINING, Kind.fraction(), "0.0",
      "loss (1-eps) nll + eps mean over the vocabulary of -log p");
  static final Key<Integer> SEED = honoured("seed", Group.TRAINING, Kind.whole(0), "42",
      "of everything random: adapter initialisation, dropout, order of the rows");
  static final Key<Integer> DATA_SEED = honoured("data_seed", Group.TRAINING, Kind.whole(0), null,
      "of the order of the rows; default: seed");

  // Output
  static final Key<String> OUTPUT_DIR = required("output_dir", Group.OUTPUT, Kind.text(),
      "folder that receives the adapter, the logs and the checkpoints");
  static final Key<Boolean> OVERWRITE = honoured("overwrite_output_dir", Group.OUTPUT, Kind.flag(), "false",
      "allow an output_dir that already holds a run");
  static final Key<Integer> LOGGING_STEPS = honoured("logging_steps", Group.OUTPUT, Kind.whole(1), "10",
      "steps between log lines (transformers: 500)");
  static final Key<Boolean> LOGGING_FIRST_STEP = honoured("logging_first_step", Group.OUTPUT, Kind.flag(), "false",
      "log the first step too");
  static final Key<String> SAVE_STRATEGY = honoured("save_strategy", Group.OUTPUT, Kind.choice("no", "steps", "epoch"),
      "steps",
      "when to write checkpoint-N; the result itself is always written at the end");
  static final Key<Integer> SAVE_STEPS = honoured("save_steps", Group.OUTPUT, Kind.whole(1), "500",
      "steps between checkpoints");
  static final Key<Integer> SAVE_TOTAL_LIMIT = honoured("save_total_limit", Group.OUTPUT, Kind.whole(1), null,
      "keep only this many newest checkpoints; default: all");
  static final Key<Boolean> SAVE_ONLY_MODEL = honoured("save_only_model", Group.OUTPUT, Kind.flag(), "false",
      "checkpoints without optimiser states: smaller, but they cannot be resumed");
  static final Key<Boolean> PLOT_LOSS = honoured("plot_loss", Group.OUTPUT, Kind.flag(), "true",
      "write training_loss.png (LLaMA-Factory: false)");
  static final Key<String> RESUME = honoured("resume_from_checkpoint", Group.OUTPUT, Kind.text(), null,
      "true: continue the newest checkpoint of output_dir; or the folder of a checkpoint");

  // Evaluation
  static final Key<String> EVAL_STRATEGY = honoured("eval_strategy", Group.EVALUATION,
      Kind.choice("no", "steps", "epoch"), null,
      "when to evaluate. Default: steps when eval_steps is given, else epoch when there is evaluation data, else no");
  static final Key<Integer> EVAL_STEPS = honoured("eval_steps", Group.EVALUATION, Kind.whole(1), null,
      "steps between evaluations; default: logging_steps");
  static final Key<Integer> EVAL_BATCH = honoured("per_device_eval_batch_size", Group.EVALUATION, Kind.whole(1), "8",
      "rows of a micro-batch in evaluation");

  // Machine
  static final Key<DeviceChoice> DEVICE = honoured("device", Group.MACHINE, Kind.device(), "auto",
      "where to compute; auto takes a card when there is one that can serve, cuda:1 is the second one");
  static final Key<String> CUDA_DRIVER = honoured("cuda_driver", Group.MACHINE, Kind.text(), null,
      "path of the CUDA driver library; default: HONE_CUDA_DRIVER, else the system's libcuda.so.1 or nvcuda.dll");
  static final Key<String> CUDA_PRODUCTS = honoured("cuda_products", Group.MACHINE, Kind.choice("auto", "ptx", "cublaslt"),
      "auto",
      "who multiplies on a card: Hone's own kernels (ptx), cuBLASLt where it is found, or (auto) the faster of the two, which is"
          + " measured once for each shape and remembered");
  static final Key<String> CUDA_KERNELS = honoured("cuda_kernels", Group.MACHINE, Kind.choice("auto", "ptx", "nvrtc"), "auto",
      "the same for the other kernels: as they come (ptx), or compiled for this card and model by NVRTC where that is found");
  static final Key<String> CUDA_GRAPHS = honoured("cuda_graphs", Group.MACHINE, Kind.choice("auto", "on", "off"), "auto",
      "whether steps of a shape that returns are replayed as one CUDA graph instead of launched kernel by kernel; auto measures both"
          + " for each shape. Same numbers; not where weights or activations travel from and to the host");
  static final Key<Integer> THREADS = honoured("threads", Group.MACHINE, Kind.whole(0), "0",
      "CPU threads; 0: one for each core");
  static final Key<Boolean> GRADIENT_CHECKPOINTING = honoured("gradient_checkpointing", Group.MACHINE, Kind.flag(),
      null,
      "true: keep each layer's input only and compute the rest again in backward; default: the plan decides. Same numbers");
  static final Key<Boolean> NO_GRADIENT_CHECKPOINTING = honoured("disable_gradient_checkpointing", Group.MACHINE,
      Kind.flag(),
      null, "LLaMA-Factory's opposite of gradient_checkpointing");

  static final Key<Boolean> LAYER_CACHE = honoured("layer_cache", Group.MACHINE, Kind.flag(), "true",
      "with quantization_bit: keep the quantised base in a file, so that later runs map it instead of quantising again");
  static final Key<String> LAYER_CACHE_DIR = honoured("layer_cache_dir", Group.MACHINE, Kind.text(), null,
      "folder of those files; default: HONE_CACHE, else hone in the user's cache folder");
  // For cards; on the CPU the base is read where it is mapped.
  static final Key<String> WEIGHT_PLACEMENT = honoured("weight_placement", Group.MACHINE,
      Kind.choice("auto", "resident", "streamed"), "auto",
      "resident: the base stays in the card's memory; streamed: layer by layer from the host's layer cache; default: resident where it fits");
  static final Key<Integer> RESIDENT_LAYERS = honoured("resident_layers", Group.MACHINE, Kind.whole(0), null,
      "layers that stay on the card, the last ones, while the others stream; default: as many as fit");
  static final Key<String> ACTIVATION_PLACEMENT = honoured("activation_placement", Group.MACHINE,
      Kind.choice("auto", "keep", "recompute", "offload", "save_all"), "auto",
      "keep everything on the card; keep layer inputs and recompute; move the inputs to pinned host memory and recompute; or move"
          + " everything there and recompute nothing (what it may not pin stays on the card where there is room)");
  static final Key<String> HEAD_PLACEMENT = honoured("head_placement", Group.MACHINE,
      Kind.choice("auto", "device", "host"), "auto", "host streams slabs of the head's rows through the chunked loss");
  static final Key<String> EMBEDDING_PLACEMENT = honoured("embedding_placement", Group.MACHINE,
      Kind.choice("auto", "device", "host"), "auto", "host gathers the rows of a micro-batch there");
  static final Key<String> OPTIMIZER_PLACEMENT = honoured("optimizer_placement", Group.MACHINE,
      Kind.choice("auto", "device", "host"), "auto", "where the optimiser's states lie, and where its step is computed");
  static final Key<Long> VRAM_LIMIT = honoured("vram_limit", Group.MACHINE, Kind.size(), null,
      "memory that a run may take of the card, its context included; default: what is free");
  static final Key<Long> RAM_LIMIT = honoured("ram_limit", Group.MACHINE, Kind.size(), null,
      "host memory that a run may take; default: what the machine or its control group has. On the CPU a mapped base that does not"
          + " fit in it is read layer by layer, see docs/memory.md");
  static final Key<Long> PINNED_LIMIT = honoured("pinned_limit", Group.MACHINE, Kind.size(), null,
      "page-locked host memory that a run may take; default: half of the host's");

  static {
    OtherKeys.addTo(ALL);
  }

  private Keys() {}

  /** Every key that Hone knows, by name, in the order of the documentation. */
  static Map<String, Key<?>> all() {
    return Collections.unmodifiableMap(ALL);
  }

  /** Older spellings that mean the same. */
  static String canonical(String typed) {
    return typed.equals("evaluation_strategy") ? EVAL_STRATEGY.name() : typed;
  }

  /** The message for a key that is not in the table. */
  static String unknown(String typed) {
    String other = OtherKeys.SPELLINGS.get(typed);
    if (other != null) {
      return "unknown key " + typed + "; in Hone it is " + other;
    }
    Optional<String> nearest = Nearest.to(typed, ALL.keySet());
    return "unknown key " + typed + nearest.map(n -> "; did you mean " + n + "?")
        .orElse("; docs/config.md lists all keys");
  }

  private static <T> Key<T> required(String name, Group group, Kind<T> kind, String meaning) {
    return honoured(name, group, kind, null, meaning);
  }

  private static <T> Key<T> honoured(String name, Group group, Kind<T> kind, String standard, String meaning) {
    Key<T> key = new Key<>(name, group, Status.HONOURED, kind, standard, meaning);
    ALL.put(name, key);
    return key;
  }
}
