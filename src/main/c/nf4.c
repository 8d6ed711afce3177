#include "nf4.h"

#include "internal.h"

void hone_nf4_load(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  const hone_quant *q = t->quant;
  const uint8_t *codes = t->data;
  for (int64_t i = 0; i < n; i++) {
    int64_t e = offset + i;
    uint8_t byte = codes[e >> 1];
    out[i] = q->code[e & 1 ? byte & 15 : byte >> 4] * hone_nf4_absmax(q, e / q->block);
  }
}
