package dev.hone.engine;

/** How frozen linear layers are kept; embedding, head and norms always stay as stored, as in bitsandbytes. */
public enum Storage {
  AS_STORED,
  NF4,
  NF4_DOUBLE_QUANTISED,
  INT8
}
