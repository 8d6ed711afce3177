/*
 * AdamW with decoupled decay (Loshchilov, Hutter 2019, arXiv 1711.05101), in the order of torch's unfused CPU step, and
 * with 8-bit moments (Dettmers, Lewis, Shleifer, Zettlemoyer 2022, arXiv 2110.02861), in the order of bitsandbytes.
 *
 * Forward.   adamw: g = grad_scale grad
 *            p *= 1 - lr wd
 *            m += (1 - b1) (g - m)                      torch's lerp; the same as b1 m + (1 - b1) g
 *            v = b2 v + (1 - b2) g g
 *            p += (-lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *            adamw8: a block of 256 with codes cm, cv and the largest moments am, av; bias_i = 1 - b_i^t
 *            m = b1 signed[cm] am + (1 - b1) g          v = b2 unsigned[cv] av + (1 - b2) g g
 *            p = (p + (-lr sqrt(bias2) / bias1) m / (sqrt(v) + sqrt(bias2) eps)) (1 - lr wd)
 *            am = max |m|,  av = max v;  cm, cv = codes of the map values nearest to m / am and v / av. A negative m
 *            never becomes the code of 0: it takes the one below, so its sign stays.
 * Backward.  None.
 * Shapes.    p, m, v, grad f32 of equal size; p, m, v overwritten in place, grad not changed. t = step, from 1.
 *            adamw8: m, v u8, m_absmax, v_absmax (ceil(n/256)) f32, overwritten in place.
 * Memory.    reads p, m, v, grad, writes p, m, v: 28 bytes an element; 16 with 8-bit moments.
 * Rounding.  Constants in f64, rounded once to f32; elements in f32, every operation rounded, so that every instruction
 *            set gives the same bits. b1 and b2 arrive as f32, where 1 - b2 would be off by 5e-5 of itself (0.999f is
 *            0.99900001); they are taken as the decimal of at most 7 places that rounds to the f32, if there is one, as
 *            such settings are written. adamw8 takes bias1 and bias2 rounded to f32, as a device gets them.
 * Mirrors.   Kernels.adamwStep, adamw8Step - AdamWTest
 */
#include <math.h>

#include "nf4.h"
#include "rows.h"

static double as_written(float f) {
  double decimal = nearbyint((double)f * 1e7) / 1e7;
  return (float)decimal == f ? decimal : (double)f;
}

static int32_t check_settings(const char *op, float beta1, float beta2, int64_t step) {
  HONE_REQUIRE(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1,
               "%s: betas are %g and %g, want 0 or more and below 1", op, (double)beta1, (double)beta2);
  HONE_REQUIRE(step >= 1, "%s: step is %lld, want 1 or more", op, (long long)step);
  return HONE_OK;
}

/* Each tensor is of the dtype and has as many elements as the first. */
static int32_t check_sizes(const char *op, const hone_tensor *const *all, int count, uint32_t dtype) {
  for (int i = 0; i < count; i++) {
    HONE_TRY(hone_check(op, all[i], dtype, all[i]->rank, all[i]->shape));
    HONE_REQUIRE(hone_elements(all[i]) == hone_elements(all[0]), "%s: %s has %lld elements, %s has %lld", op,
                 all[0]->name, (long long)hone_elements(all[0]), all[i]->name, (long long)hone_elements(all[i]));
  }
  return HONE_OK;
}

int32_t hone_adamw_step(const hone_tensor *p, const hone_tensor *m, const hone_tensor *v, const hone_tensor *grad,
                        float lr, float beta1, float beta2, float eps, float weight_decay, float grad_scale,
                        int64_t step) {
  const char *op = "adamw_step";
  HONE_REQUIRE(p && m && v && grad, "%s: a required tensor is null", op);
  HONE_TRY(check_sizes(op, (const hone_tensor *const[]){p, m, v, grad}, 4, HONE_DTYPE_BIT(HONE_F32)));
  HONE_TRY(check_settings(op, beta1, beta2, step));
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

/* ---- 8-bit moments ----------------------------------------------------------------------------------------------- */

enum { BLOCK = HONE_ADAMW8_BLOCK };

int32_t hone_adamw8_step(const hone_tensor *p, const hone_tensor *m, const hone_tensor *v, const hone_tensor *m_absmax,
                         const hone_tensor *v_absmax, const hone_tensor *grad, float lr, float beta1, float beta2,
                         float eps, float weight_decay, float grad_scale, int64_t step) {
  const char *op = "adamw8_step";
  HONE_REQUIRE(p && m && v && grad, "%s: a required tensor is null", op);
  HONE_TRY(check_sizes(op, (const hone_tensor *const[]){p, grad}, 2, HONE_DTYPE_BIT(HONE_F32)));
  HONE_TRY(check_sizes(op, (const hone_tensor *const[]){m, v}, 2, HONE_DTYPE_BIT(HONE_U8)));
  int64_t count = hone_elements(p), blocks = (count + BLOCK - 1) / BLOCK;
  HONE_REQUIRE(hone_elements(m) == count, "%s: %s has %lld elements, %s has %lld", op, p->name, (long long)count,
               m->name, (long long)hone_elements(m));
  HONE_CHECK1(op, m_absmax, HONE_DTYPE_BIT(HONE_F32), blocks);
  HONE_CHECK1(op, v_absmax, HONE_DTYPE_BIT(HONE_F32), blocks);
  HONE_TRY(check_settings(op, beta1, beta2, step));
  double b1 = as_written(beta1), b2 = as_written(beta2), rate = lr;
  double bias1 = (float)(1 - pow(b1, (double)step)), root = sqrt((float)(1 - pow(b2, (double)step)));
  hone_adamw8 c = {
      .beta1 = (float)b1,
      .one_minus_beta1 = (float)(1 - b1),
      .beta2 = (float)b2,
      .one_minus_beta2 = (float)(1 - b2),
      .step = (float)(-rate * root / bias1),
      .eps = (float)(root * (double)eps),
      .keep = (float)(1 - rate * (double)weight_decay),
      .grad_scale = grad_scale,
  };
  hone_dynamic_map(c.m_map, true);
  hone_dynamic_map(c.v_map, false);
  hone_dynamic_boundaries(c.m_boundary, c.m_map);
  hone_dynamic_boundaries(c.v_boundary, c.v_map);
  const hone_rows *rows = hone_rows_now();
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    int64_t at = b * BLOCK, n = count - at < BLOCK ? count - at : BLOCK;
    rows->adamw8((float *)p->data + at, (uint8_t *)m->data + at, (uint8_t *)v->data + at, (float *)m_absmax->data + b,
                 (float *)v_absmax->data + b, (const float *)grad->data + at, &c, n);
  }
  return HONE_OK;
}

int32_t hone_adamw8_maps(const hone_tensor *signed_map, const hone_tensor *unsigned_map) {
  HONE_CHECK1("adamw8_maps", signed_map, HONE_DTYPE_BIT(HONE_F32), HONE_DYNAMIC_MAP);
  HONE_CHECK1("adamw8_maps", unsigned_map, HONE_DTYPE_BIT(HONE_F32), HONE_DYNAMIC_MAP);
  hone_dynamic_map(signed_map->data, true);
  hone_dynamic_map(unsigned_map->data, false);
  return HONE_OK;
}
