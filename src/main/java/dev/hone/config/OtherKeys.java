package dev.hone.config;

import dev.hone.config.Key.Group;
import dev.hone.config.Key.Status;
import java.util.Map;

/** Keys of other tools that change nothing here, keys that are refused, and other tools' names for Hone's keys. */
final class OtherKeys {
  /** Axolotl's, TRL's and PEFT's names, so that the message can say Hone's. */
  static final Map<String, String> SPELLINGS = Map.ofEntries(
      Map.entry("base_model", "model_name_or_path (this looks like an Axolotl file; Hone reads LLaMA-Factory's keys)"),
      Map.entry("datasets", "dataset"),
      Map.entry("adapter", "finetuning_type (and quantization_bit: 4 for qlora)"),
      Map.entry("load_in_4bit", "quantization_bit: 4"),
      Map.entry("lora_r", "lora_rank"),
      Map.entry("r", "lora_rank"),
      Map.entry("lora_target_modules", "lora_target"),
      Map.entry("target_modules", "lora_target"),
      Map.entry("lora_target_linear", "lora_target: all"),
      Map.entry("sequence_len", "cutoff_len"),
      Map.entry("max_seq_length", "cutoff_len"),
      Map.entry("max_length", "cutoff_len"),
      Map.entry("sample_packing", "packing"),
      Map.entry("val_set_size", "val_size"),
      Map.entry("micro_batch_size", "per_device_train_batch_size"),
      Map.entry("train_batch_size", "per_device_train_batch_size"),
      Map.entry("batch_size", "per_device_train_batch_size"),
      Map.entry("num_epochs", "num_train_epochs"),
      Map.entry("epochs", "num_train_epochs"),
      Map.entry("optimizer", "optim"),
      Map.entry("lr", "learning_rate"),
      Map.entry("lr_scheduler", "lr_scheduler_type"),
      Map.entry("train_on_inputs", "train_on_prompt"),
      Map.entry("chat_template", "template"),
      Map.entry("dtype", "compute_dtype"),
      Map.entry("torch_dtype", "compute_dtype"));

  private static final String ONE_PROCESS = "Hone is one process on one device";
  private static final String NO_DOWNLOAD = "nothing is downloaded";
  private static final String LOCAL = "nothing leaves the machine; trainer_log.jsonl and trainer_state.json are always written";
  private static final String TEXT_ONLY = "models are text-only";
  private static final String NO_WORKERS = "data is read and tokenised inside the one process";
  private static final String OWN_KERNELS = "Hone has kernels of its own, with the same result";

  private final Map<String, Key<?>> all;

  private OtherKeys(Map<String, Key<?>> all) {
    this.all = all;
  }

  static void addTo(Map<String, Key<?>> all) {
    OtherKeys keys = new OtherKeys(all);
    keys.addIdle();
    keys.addRefused();
  }

  private void addIdle() {
    idle("`hone train` trains", "do_train");
    idle("evaluation follows from eval_strategy and the evaluation data", "do_eval");
    idle("code of a model folder is never run", "trust_remote_code");
    idle("compute_dtype decides; a card before compute capability 8.0 computes in fp16 by itself", "fp16", "fp16_opt_level",
        "half_precision_backend");
    idle("it is a format of graphics cards", "tf32");
    idle("compute_dtype decides", "infer_dtype", "upcast_layernorm", "upcast_lmhead_output", "bf16_full_eval",
        "fp16_full_eval");
    idle("attention is always of the flash kind, exact", "flash_attn", "attn_implementation");
    idle(OWN_KERNELS, "enable_liger_kernel", "use_liger_kernel", "use_unsloth", "use_unsloth_gc", "use_kt",
        "torch_compile",
        "torch_compile_backend", "torch_compile_mode", "jit_mode_eval", "use_ipex");
    idle("recomputation is exact and needs no choice of mechanism", "use_reentrant_gc",
        "gradient_checkpointing_kwargs");
    idle("device decides", "use_cpu", "no_cuda", "use_mps_device", "quantization_device_map", "low_cpu_mem_usage");
    idle("4 bits are always in the bitsandbytes layout", "quantization_method");
    idle(LOCAL, "report_to", "run_name", "logging_dir", "log_level", "log_level_replica", "log_on_each_node",
        "disable_tqdm",
        "project", "include_num_input_tokens_seen", "include_tokens_per_second", "include_effective_tokens_per_second",
        "skip_memory_metrics", "logging_nan_inf_filter", "print_param_status");
    idle(NO_WORKERS, "preprocessing_num_workers", "preprocessing_batch_size", "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_persistent_workers", "dataloader_prefetch_factor", "buffer_size", "data_shared_file_system");
    idle("datasets are not cached", "overwrite_cache", "cache_dir");
    idle(NO_DOWNLOAD, "hf_hub_token", "ms_hub_token", "om_hub_token", "hub_token", "model_revision",
        "use_fast_tokenizer");
    idle(ONE_PROCESS, "ddp_timeout", "ddp_backend", "ddp_find_unused_parameters", "ddp_bucket_cap_mb",
        "ddp_broadcast_buffers",
        "deepspeed", "fsdp", "fsdp_config", "accelerator_config", "local_rank", "save_on_each_node", "ray_run_name",
        "ray_num_workers", "average_tokens_across_devices");
    idle("runs are always repeatable", "full_determinism");
    idle("evaluation computes the loss only", "prediction_loss_only", "eval_accumulation_steps",
        "eval_do_concat_batches");
    idle("rows have only the columns that are used", "remove_unused_columns", "label_names", "length_column_name");
    idle("memory is planned before the run", "torch_empty_cache_steps", "use_cache");
    idle(TEXT_ONLY, "freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model", "image_max_pixels",
        "image_min_pixels", "video_max_pixels", "video_min_pixels", "media_dir");
    idle("the built-in templates add no thinking blocks", "enable_thinking");
    idle("it belongs to loraplus_lr_ratio", "loraplus_lr_embedding");
  }

  private void addRefused() {
    refused("quantization_type", "nf4", "the only 4-bit type built is nf4; remove the key");
    refused("use_dora", "false", "DoRA is not built; remove the key to train plain LoRA, or set use_rslora");
    refused("loraplus_lr_ratio", null, "LoRA+ is not built; remove the key to train A and B with one learning rate");
    refused("pissa_init", "false", "PiSSA initialisation is not built; remove the key (A is random, B is 0)");
    refused("pissa_convert", "false", "PiSSA initialisation is not built; remove the key");
    refused("additional_target", null, "only linear layers take adapters; remove the key");
    refused("create_new_adapter", "false",
        "an adapter is continued, not stacked; merge the old one into the base first");
    refused("neftune_noise_alpha", "0", "NEFTune is not built; remove the key to train without embedding noise");
    refused("resize_vocab", "false", "the vocabulary keeps its size; use a model that has the tokens");
    refused("add_tokens", null, "the vocabulary keeps its size; use a model that has the tokens");
    refused("add_special_tokens", null, "the vocabulary keeps its size; use a model that has the tokens");
    refused("new_special_tokens", null, "the vocabulary keeps its size; use a model that has the tokens");
    refused("split_special_tokens", "false", "special tokens are always kept whole; remove the key");
    refused("shift_attn", "false", "S2-attention is not exact and not built; remove the key");
    refused("mixture_of_depths", null, "not built; remove the key");
    refused("pure_bf16", "false", "trained weights stay fp32; use bf16: true for bf16 activations");
    refused("tokenized_path", null, "give a file of input_ids rows as dataset with dataset_format: tokenized instead");
    refused("streaming", "false", "datasets are read whole; remove the key, max_samples limits the rows");
    refused("mix_strategy", "concat", "datasets are put one after the other and shuffled; remove the key");
    refused("interleave_probs", null, "datasets are put one after the other and shuffled; remove the key");
    refused("ignore_pad_token_for_loss", "true", "padding never counts in the loss; remove the key");
    refused("eval_on_each_dataset", "false", "evaluation sets are evaluated together; remove the key");
    refused("tool_format", null, "tool calls are written in the template's own form; remove the key");
    refused("default_system", null, "put the system text into the rows (field system)");
    refused("group_by_length", "false", "it changes the order of the rows; remove the key, packing saves more");
    refused("dataloader_drop_last", "false", "every row is trained on; remove the key");
    refused("ignore_data_skip", "false", "a resumed run continues with the next row; remove the key");
    refused("predict_with_generate", "false", "use `hone generate` after training");
    refused("do_predict", "false", "use `hone generate` after training");
    refused("use_dft_loss", "false", "only cross-entropy is built for sft and pt; remove the key");
    refused("compute_accuracy", "false", "evaluation computes the loss only; remove the key");
    refused("lr_scheduler_kwargs", null, "the schedules have no further settings; remove the key");
    refused("logging_strategy", "steps", "logging goes by steps; set logging_steps");
    refused("eval_on_start", "false", "the first evaluation comes after training began; remove the key");
    refused("eval_delay", "0", "evaluation follows eval_strategy from the start; remove the key");
    refused("load_best_model_at_end", "false", "the last state is the result; take checkpoint-N for another one");
    refused("metric_for_best_model", null, "the last state is the result; remove the key");
    refused("greater_is_better", null, "the last state is the result; remove the key");
    refused("early_stopping_steps", null, "not built; stop with Ctrl-C, which saves a checkpoint");
    refused("save_safetensors", "true", "safetensors is the only format written; remove the key");
    refused("push_to_hub", "false", "Hone does not go online; upload output_dir yourself");
    refused("hub_model_id", null, "Hone does not go online; upload output_dir yourself");
    for (String name : new String[] {"use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon",
        "use_llama_pro"}) {
      refused(name, "false", "only AdamW on LoRA or on every weight is built; remove the key");
    }
    for (String name : new String[] {"freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"}) {
      refused(name, null, "finetuning_type freeze is not built; use lora or full");
    }
    for (String name : new String[] {"pref_beta", "pref_ftx", "pref_loss", "dpo_label_smoothing", "simpo_gamma",
        "ref_model",
        "ref_model_adapters", "ref_model_quantization_bit", "kto_chosen_weight", "kto_rejected_weight", "reward_model",
        "reward_model_type", "ppo_epochs", "ppo_buffer_size", "ppo_target"}) {
      refused(name, null, "it belongs to preference training; the stages supported are pt and sft");
    }
  }

  private void idle(String why, String... names) {
    for (String name : names) {
      all.put(name, new Key<>(name, Group.NO_EFFECT, Status.NO_EFFECT, Kind.anything(), null, why));
    }
  }

  private void refused(String name, String neutral, String why) {
    all.put(name, new Key<>(name, Group.REFUSED, Status.REFUSED, Kind.anything(), neutral, why));
  }
}
