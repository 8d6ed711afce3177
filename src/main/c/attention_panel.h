/*
 * attention_panel.h - the row panels of the tiled attention, compiled once per instruction set (tile_product.h says what
 * the including file defines).
 */
#include "attention.h"
#include "tile_product.h"

/* Rows token .. token+rows-1 of a head as f32 times `factor` into panel (rows, ld), columns dim .. ld-1 zeroed. */
static void load_panel(float *panel, int64_t ld, const hone_tensor *t, int64_t heads, int64_t head, int64_t dim,
                       int64_t token, int64_t rows, float factor) {
  enum { AHEAD = 8 }; /* rows of one head lie far apart */
  const int64_t size = t->dtype == HONE_F32 ? 4 : 2;
  for (int64_t r = 0; r < rows; r++, panel += ld) {
    int64_t at = hone_head_offset(token + r, heads, head, dim), d = 0;
    const char *later = (const char *)t->data + hone_head_offset(token + r + AHEAD, heads, head, dim) * size;
    for (int64_t byte = 0; byte < dim * size; byte += 64) __builtin_prefetch(later + byte);
    if (t->dtype == HONE_F32) {
      const float *in = (const float *)t->data + at;
      for (; d < dim; d++) panel[d] = factor * in[d];
    } else {
      const uint16_t *in = (const uint16_t *)t->data + at;
      for (; d < dim; d++) panel[d] = factor * hone_bf16_to_f32(in[d]);
    }
    for (; d < ld; d++) panel[d] = 0;
  }
}

/* Rows of a head from panel (rows, ld) to a tensor, rounded once. */
static void store_panel(const hone_tensor *t, int64_t heads, int64_t head, int64_t dim, int64_t token, int64_t rows,
                        const float *panel, int64_t ld) {
  for (int64_t r = 0; r < rows; r++) {
    int64_t at = hone_head_offset(token + r, heads, head, dim);
    const float *in = panel + r * ld;
    if (t->dtype == HONE_F32) {
      memcpy((float *)t->data + at, in, (size_t)dim * sizeof(float));
    } else {
      uint16_t *out = (uint16_t *)t->data + at;
      for (int64_t d = 0; d < dim; d++) out[d] = hone_f32_to_bf16(in[d]);
    }
  }
}

/* Keys or values as broadcast operands: the tensor's own rows when they are f32, else widened into `panel` (rows, dim). */
static const float *key_rows(float *panel, int64_t *step, const hone_tensor *t, int64_t heads, int64_t head, int64_t dim,
                             int64_t token, int64_t rows) {
  if (t->dtype == HONE_F32) {
    *step = heads * dim;
    return (const float *)t->data + hone_head_offset(token, heads, head, dim);
  }
  *step = dim;
  load_panel(panel, dim, t, heads, head, dim, token, rows, 1.0f);
  return panel;
}
