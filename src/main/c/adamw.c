/*
 * AdamW with decoupled decay (Loshchilov, Hutter 2019, arXiv 1711.05101), in the order of torch's unfused CPU step.
 *
 * Forward.   g = grad_scale grad
 *            p *= 1 - lr wd
 *            m += (1 - b1) (g - m)                      torch's lerp; the same as b1 m + (1 - b1) g
 *            v = b2 v + (1 - b2) g g
 *            p += (-lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * Backward.  None.
 * Shapes.    p, m, v, grad f32 of equal size; p, m, v overwritten in place, grad not changed. t = step, from 1.
 * Memory.    reads p, m, v, grad, writes p, m, v: 28 bytes an element.
 * Rounding.  Constants in f64, rounded once to f32; elements in f32, every operation rounded, so that every instruction
 *            set gives the same bits. b1 and b2 arrive as f32, where 1 - b2 would be off by 5e-5 of itself (0.999f is
 *            0.99900001); they are taken as the decimal of at most 7 places that rounds to the f32, if there is one, as
 *            such settings are written.
 * Mirrors.   Kernels.adamwStep - AdamWTest
 */
#include <math.h>

#include "rows.h"

static double as_written(float f) {
  double decimal = nearbyint((double)f * 1e7) / 1e7;
  return (float)decimal == f ? decimal : (double)f;
}

int32_t hone_adamw_step(const hone_tensor *p, const hone_tensor *m, const hone_tensor *v, const hone_tensor *grad,
                        float lr, float beta1, float beta2, float eps, float weight_decay, float grad_scale,
                        int64_t step) {
  const char *op = "adamw_step";
  HONE_REQUIRE(p && m && v && grad, "%s: a required tensor is null", op);
  const hone_tensor *all[] = {p, m, v, grad};
  for (int i = 0; i < 4; i++) {
    HONE_TRY(hone_check(op, all[i], HONE_DTYPE_BIT(HONE_F32), all[i]->rank, all[i]->shape));
    HONE_REQUIRE(hone_elements(all[i]) == hone_elements(p), "%s: %s has %lld elements, %s has %lld", op, p->name,
                 (long long)hone_elements(p), all[i]->name, (long long)hone_elements(all[i]));
  }
  HONE_REQUIRE(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1,
               "%s: betas are %g and %g, want 0 or more and below 1", op, (double)beta1, (double)beta2);
  HONE_REQUIRE(step >= 1, "%s: step is %lld, want 1 or more", op, (long long)step);
  const hone_rows *rows = hone_rows_now();
  double b1 = as_written(beta1), b2 = as_written(beta2);
  const hone_adamw constants = {
      .keep = (float)(1 - (double)lr * (double)weight_decay),
      .one_minus_beta1 = (float)(1 - b1),
      .beta2 = (float)b2,
      .one_minus_beta2 = (float)(1 - b2),
      .root_correction = (float)sqrt(1 - pow(b2, (double)step)),
      .eps = eps,
      .minus_step = (float)(-(double)lr / (1 - pow(b1, (double)step))),
      .grad_scale = grad_scale,
  };
  int64_t count = hone_elements(p), blocks = (count + HONE_ROW_BLOCK - 1) / HONE_ROW_BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    int64_t at = b * HONE_ROW_BLOCK, n = count - at < HONE_ROW_BLOCK ? count - at : HONE_ROW_BLOCK;
    rows->adamw((float *)p->data + at, (float *)m->data + at, (float *)v->data + at, (const float *)grad->data + at,
                &constants, n);
  }
  return HONE_OK;
}
