/*
 * Gated activation: y = act(gate) * up.
 *
 * Forward.   SILU       act(g) = g s,     s = 1 / (1 + e^-g)
 *            GELU_TANH  act(g) = g/2 (1 + tanh t) = g s,  s = 1 / (1 + e^-2t),  t = sqrt(2/pi) (g + 0.044715 g^3)
 *            GELU_ERF   act(g) = g P(g),  P(g) = (1 + erf(g / sqrt 2)) / 2 = erfc(-g / sqrt 2) / 2
 * Backward.  dup = dy act(gate);   dgate = dy up act'(gate), where with s' = s (1-s) of its argument
 *            SILU       act' = s + g s (1-s) = s (1 + g (1-s))
 *            GELU_TANH  act' = s + g s (1-s) 2t',   2t' = 2 sqrt(2/pi) (1 + 3 * 0.044715 g^2)
 *            GELU_ERF   act' = P + g e^(-g^2/2) / sqrt(2 pi)
 * Shapes.    y, gate, up, dy, dgate, dup (M,I) f32|bf16, all in one dtype; y, dgate, dup overwritten.
 *            y may be gate or up; dgate may be gate, dup may be up or dy.
 * Memory.    forward reads gate and up, writes y; backward reads dy, gate and up, writes dgate and dup. No scratch but
 *            blocks of 2048 f32 on the stack.
 * Rounding.  f32, rounded once.
 * Mirrors.   Kernels.gatedForward/Backward - GatedTest
 */
#include "rows.h"

static int32_t check(const char *op, const hone_tensor *y, const hone_tensor *const *others, int count,
                     int32_t activation) {
  HONE_CHECK2(op, y, HONE_ACTIVATIONS, -1, -1);
  for (int i = 0; i < count; i++) HONE_CHECK2(op, others[i], HONE_DTYPE_BIT(y->dtype), y->shape[0], y->shape[1]);
  HONE_REQUIRE(activation >= HONE_SILU && activation <= HONE_GELU_ERF,
               "%s: activation is %d, want 0 silu, 1 gelu_tanh or 2 gelu_erf", op, activation);
  return HONE_OK;
}

int32_t hone_gated_forward(const hone_tensor *y, const hone_tensor *gate, const hone_tensor *up, int32_t activation) {
  HONE_TRY(check("gated_forward", y, (const hone_tensor *const[]){gate, up}, 2, activation));
  const hone_rows *rows = hone_rows_now();
  int64_t count = hone_elements(y), blocks = (count + HONE_ROW_BLOCK - 1) / HONE_ROW_BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float gate_buffer[HONE_ROW_BLOCK], up_buffer[HONE_ROW_BLOCK];
    int64_t at = b * HONE_ROW_BLOCK, n = count - at < HONE_ROW_BLOCK ? count - at : HONE_ROW_BLOCK;
    const float *g = hone_row_in(rows, gate_buffer, gate, at, n), *u = hone_row_in(rows, up_buffer, up, at, n);
    float *out = hone_row_out(gate_buffer, y, at);
    rows->gated[activation](out, g, u, n);
    hone_row_done(rows, y, at, out, n);
  }
  return HONE_OK;
}

int32_t hone_gated_backward(const hone_tensor *dgate, const hone_tensor *dup, const hone_tensor *dy,
                            const hone_tensor *gate, const hone_tensor *up, int32_t activation) {
  HONE_TRY(check("gated_backward", dgate, (const hone_tensor *const[]){dup, dy, gate, up}, 4, activation));
  const hone_rows *rows = hone_rows_now();
  int64_t count = hone_elements(dgate), blocks = (count + HONE_ROW_BLOCK - 1) / HONE_ROW_BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float gate_buffer[HONE_ROW_BLOCK], up_buffer[HONE_ROW_BLOCK], dy_buffer[HONE_ROW_BLOCK];
    int64_t at = b * HONE_ROW_BLOCK, n = count - at < HONE_ROW_BLOCK ? count - at : HONE_ROW_BLOCK;
    float *dg = hone_row_out(gate_buffer, dgate, at), *du = hone_row_out(up_buffer, dup, at);
    const float *g = hone_row_in(rows, gate_buffer, gate, at, n), *u = hone_row_in(rows, up_buffer, up, at, n);
    rows->gated_backward[activation](dg, du, hone_row_in(rows, dy_buffer, dy, at, n), g, u, n);
    hone_row_done(rows, dgate, at, dg, n);
    hone_row_done(rows, dup, at, du, n);
  }
  return HONE_OK;
}
