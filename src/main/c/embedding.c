/*
 * Embedding: the rows of a table at the token ids.
 *
 * Forward.   out[m] = scale table[ids[m]]      (scale: Gemma's sqrt(C), Granite's embedding multiplier, else 1)
 * Backward.  dtable[v] += scale sum over m with ids[m] = v of dout[m].
 *            Threads share out the columns, each going through the tokens in order: no two write the same element and
 *            the order of a sum does not depend on the thread count.
 * Shapes.    out, dout (M,C) f32|bf16   ids (M) i32   table (V,C) f32|bf16|f16   dtable (V,C) f32, accumulated
 * Memory.    reads and writes M*C once; backward also reads and writes the touched rows of dtable. Nothing saved.
 * Rounding.  product in f32, rounded once to out's dtype; dtable is summed in f32.
 * Mirrors.   Kernels.embeddingForward/Backward - EmbeddingTest
 */
#include "rows.h"

static int32_t check(const char *op, const hone_tensor *x, const hone_tensor *ids, const hone_tensor *table,
                     uint32_t table_dtypes) {
  HONE_CHECK2(op, x, HONE_ACTIVATIONS, -1, -1);
  HONE_CHECK1(op, ids, HONE_DTYPE_BIT(HONE_I32), x->shape[0]);
  HONE_CHECK2(op, table, table_dtypes, -1, x->shape[1]);
  const int32_t *id = ids->data;
  for (int64_t m = 0; m < x->shape[0]; m++) {
    HONE_REQUIRE(id[m] >= 0 && id[m] < table->shape[0], "%s: %s[%lld] is %d, want 0 .. %lld, the rows of %s", op,
                 ids->name, (long long)m, id[m], (long long)table->shape[0] - 1, table->name);
  }
  return HONE_OK;
}

int32_t hone_embedding_forward(const hone_tensor *out, const hone_tensor *ids, const hone_tensor *table, float scale) {
  HONE_TRY(check("embedding_forward", out, ids, table, HONE_FLOATS));
  const hone_rows *rows = hone_rows_now();
  const int32_t *id = ids->data;
  int64_t tokens = out->shape[0], hidden = out->shape[1];
#pragma omp parallel for schedule(static)
  for (int64_t m = 0; m < tokens; m++) {
    float buffer[HONE_ROW_BLOCK];
    for (int64_t c = 0; c < hidden; c += HONE_ROW_BLOCK) {
      int64_t n = hidden - c < HONE_ROW_BLOCK ? hidden - c : HONE_ROW_BLOCK;
      float *y = hone_row_out(buffer, out, m * hidden + c);
      rows->scale(y, hone_row_in(rows, buffer, table, id[m] * hidden + c, n), scale, n);
      hone_row_done(rows, out, m * hidden + c, y, n);
    }
  }
  return HONE_OK;
}

enum { COLUMNS = 256 }; /* of one thread's turn: whole cache lines, so that threads seldom share one */

int32_t hone_embedding_backward(const hone_tensor *dtable, const hone_tensor *ids, const hone_tensor *dout,
                                float scale) {
  HONE_TRY(check("embedding_backward", dout, ids, dtable, HONE_DTYPE_BIT(HONE_F32)));
  const hone_rows *rows = hone_rows_now();
  const int32_t *id = ids->data;
  int64_t tokens = dout->shape[0], hidden = dout->shape[1], blocks = (hidden + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float buffer[COLUMNS];
    int64_t c = b * COLUMNS, n = hidden - c < COLUMNS ? hidden - c : COLUMNS;
    for (int64_t m = 0; m < tokens; m++) {
      float *sum = (float *)dtable->data + id[m] * hidden + c;
      rows->add_scaled(sum, sum, hone_row_in(rows, buffer, dout, m * hidden + c, n), scale, n);
    }
  }
  return HONE_OK;
}
