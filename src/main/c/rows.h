/*
 * rows.h - the passes over rows of f32 that the element-wise ops and reductions are made of.
 *
 * One text, rows_body.h, compiled once for each instruction set: rows.c plainly with libm, rows_avx2.c and
 * rows_avx512.c with the functions of vecmath.h. An op converts a row to f32 (hone_row_in), runs a pass, and rounds it
 * once on the way out (hone_row_done). An output row may be exactly an input row; rows that overlap in part are not
 * allowed. Sums are f64, so that the order of the lanes of an instruction set hardly shows.
 */
#ifndef HONE_ROWS_H
#define HONE_ROWS_H

#include "internal.h"
#include "nf4.h"

/* Constants of one AdamW step (adamw.c). */
typedef struct hone_adamw {
  float keep;            /* 1 - lr wd */
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float root_correction; /* sqrt(1 - beta2^t) */
  float eps;
  float minus_step;      /* -lr / (1 - beta1^t) */
  float grad_scale;
} hone_adamw;

/* Constants of one AdamW step with 8-bit moments, and their maps (adamw.c). */
typedef struct hone_adamw8 {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step; /* -lr sqrt(1 - beta2^t) / (1 - beta1^t) */
  float eps;  /* sqrt(1 - beta2^t) eps */
  float keep; /* 1 - lr wd */
  float grad_scale;
  float m_map[HONE_DYNAMIC_MAP], v_map[HONE_DYNAMIC_MAP];
  float m_boundary[HONE_DYNAMIC_MAP - 1], v_boundary[HONE_DYNAMIC_MAP - 1];
} hone_adamw8;

enum { HONE_ADAMW8_BLOCK = 256 };

typedef struct hone_rows {
  void (*load_bf16)(float *out, const uint16_t *in, int64_t n);
  void (*store_bf16)(uint16_t *out, const float *in, int64_t n);

  void (*scale)(float *y, const float *x, float a, int64_t n);                      /* y = a x */
  void (*add_scaled)(float *y, const float *x, const float *r, float a, int64_t n); /* y = x + a r */
  double (*sum_squares)(const float *x, int64_t n);

  /* rmsnorm.c: y = (x rstd) g */
  void (*norm)(float *y, const float *x, const float *g, float rstd, int64_t n);
  double (*dot3)(const float *a, const float *b, const float *c, int64_t n);
  /* dx = (base or 0) + rstd (dy g) - k x */
  void (*norm_backward)(float *dx, const float *base, const float *dy, const float *x, const float *g, float rstd,
                        float k, int64_t n);
  void (*norm_weight)(double *sum, const float *dy, const float *x, float rstd, int64_t n); /* sum += dy (x rstd) */

  /* rope.c: (x1,x2) = (x1 cos - x2 sin, x2 cos + x1 sin), or the inverse */
  void (*turn)(float *x1, float *x2, const float *cos, const float *sin, int64_t n);
  void (*turn_back)(float *x1, float *x2, const float *cos, const float *sin, int64_t n);

  /* gated.c, by activation */
  void (*gated[3])(float *y, const float *gate, const float *up, int64_t n);
  void (*gated_backward[3])(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n);

  /* cross_entropy.c, softcap.c */
  void (*softcap)(float *z, float logit_scale, float cap, int64_t n); /* z = cap tanh(logit_scale z / cap) */
  float (*max)(const float *z, int64_t n);
  double (*sum)(const float *z, int64_t n);
  double (*sum_exp)(const float *z, float max, int64_t n);   /* sum of exp(z - max) */
  double (*into_exp)(float *z, float max, int64_t n);        /* the same, z = exp(z - max) */
  void (*affine)(float *z, float a, float b, int64_t n);     /* z = a z - b */
  void (*capped_gradient)(float *z, float max, float a, float b, float cap, int64_t n);
                                                             /* z = (a exp(z - max) - b) (1 - (z / cap)^2) */

  /* adamw.c */
  void (*adamw)(float *p, float *m, float *v, const float *grad, const hone_adamw *c, int64_t n);
  /* one block: n <= HONE_ADAMW8_BLOCK */
  void (*adamw8)(float *p, uint8_t *m, uint8_t *v, float *m_absmax, float *v_absmax, const float *grad,
                 const hone_adamw8 *c, int64_t n);
} hone_rows;

extern const hone_rows hone_rows_reference, hone_rows_avx2, hone_rows_avx512;

/* The passes of the instruction set in use. */
const hone_rows *hone_rows_now(void);

/* n elements from `offset` as f32: in place for F32, else converted into `buffer`. */
static inline const float *hone_row_in(const hone_rows *rows, float *buffer, const hone_tensor *t, int64_t offset,
                                       int64_t n) {
  if (t->dtype == HONE_F32) return (const float *)t->data + offset;
  if (t->dtype == HONE_BF16) {
    rows->load_bf16(buffer, (const uint16_t *)t->data + offset, n);
  } else {
    hone_load(buffer, t, offset, n);
  }
  return buffer;
}

/* Where to compute the row at `offset`: in place for F32, else in `buffer`; hone_row_done then rounds it into place. */
static inline float *hone_row_out(float *buffer, const hone_tensor *t, int64_t offset) {
  return t->dtype == HONE_F32 ? (float *)t->data + offset : buffer;
}
static inline void hone_row_done(const hone_rows *rows, const hone_tensor *t, int64_t offset, const float *row,
                                 int64_t n) {
  if (t->dtype == HONE_BF16) rows->store_bf16((uint16_t *)t->data + offset, row, n);
}

/* Element-wise ops go through flat tensors in blocks of this many elements: three rows of f32 stay in L1. */
enum { HONE_ROW_BLOCK = 2048 };

#endif
