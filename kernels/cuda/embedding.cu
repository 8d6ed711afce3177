/*
 * Embedding: the rows of a table at the token ids, one block for each token.
 *
 * Forward.   out[m] = scale table[ids[m]]      (scale: Gemma's sqrt(C), Granite's embedding multiplier, else 1)
 * Backward.  None: the table is frozen.
 * Shapes.    out (M,C) T, overwritten   ids (M) i32, 0 .. V-1   table (V,C) T
 *            An id outside gives a row of NaN: never a read outside the table, and never unnoticed.
 * Memory.    reads and writes M*C once: 4 bytes an element. Nothing saved.
 * Rounding.  product in f32, rounded once.
 * Mirrors.   src/main/c/embedding.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_embedding_fwd_{T} op=embedding_fwd block=256 consts=ROWS:1
#include "hone.cuh"

HONE_KERNEL HONE_ENTRY(embedding_fwd)(T *__restrict__ out, const int32_t *__restrict__ ids, const T *__restrict__ table,
                                      int M, int C, int V, float scale) {
  const int64_t token = blockIdx.x;
  if (token >= M) return;
  const int32_t id = ids[token];
  const bool known = id >= 0 && id < V, vector = C % PACK == 0 && aligned(out, table);
  const T *row = table + (known ? id : 0) * static_cast<int64_t>(C);
  out += token * C;
  if (!known) scale = __int_as_float(0x7fffffff); /* NaN */
  for (int c = threadIdx.x * PACK; c < C; c += THREADS * PACK) {
    float v[PACK];
    load(v, row + c, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] *= scale;
    store(out + c, v, C - c, vector);
  }
}
