/** Floor 2: files as other tools write and read them: safetensors, Hugging Face checkpoints, PEFT adapters. */
package dev.hone.format;
