/*
 * Logit scale and soft cap in place: what generation needs after a plain linear. Training: cross_entropy.c.
 *
 * Forward.   z = c tanh(logit_scale z / c) with c = softcap > 0;  z = logit_scale z with softcap 0.
 * Backward.  In cross_entropy.c: with y the result, dz = logit_scale (1 - (y/c)^2) dy.
 * Shapes.    z any shape, f32|bf16, in place
 * Memory.    reads and writes z once.
 * Rounding.  f32, rounded once.
 * Mirrors.   Kernels.softcapForward - CrossEntropyTest
 */
#include "rows.h"

int32_t hone_softcap_forward(const hone_tensor *z, float logit_scale, float softcap) {
  const char *op = "softcap_forward";
  HONE_REQUIRE(z, "%s: a required tensor is null", op);
  HONE_TRY(hone_check(op, z, HONE_ACTIVATIONS, z->rank, z->shape));
  HONE_REQUIRE(softcap >= 0, "%s: softcap is %g, want 0 (none) or more", op, (double)softcap);
  const hone_rows *rows = hone_rows_now();
  int64_t count = hone_elements(z), blocks = (count + HONE_ROW_BLOCK - 1) / HONE_ROW_BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float buffer[HONE_ROW_BLOCK];
    int64_t at = b * HONE_ROW_BLOCK, n = count - at < HONE_ROW_BLOCK ? count - at : HONE_ROW_BLOCK;
    const float *in = hone_row_in(rows, buffer, z, at, n);
    float *row = hone_row_out(buffer, z, at);
    if (softcap > 0) {
      rows->softcap(row, logit_scale, softcap, n);
    } else {
      rows->scale(row, in, logit_scale, n);
    }
    hone_row_done(rows, z, at, row, n);
  }
  return HONE_OK;
}
