/*
 * Linear + cross-entropy over chunks of Tc tokens; the logits never exist whole.
 *
 * Forward.   a = logit_scale h U^T,   z = a, or c tanh(a / c) with softcap c > 0
 *            lse = max + log sum_v exp(z_v - max),   nll = lse - z_y,   y the target
 *            loss += sum over rows with y != -100 of (1-e) nll + e mean_v (lse - z_v) = lse - (1-e) z_y - e mean_v z_v
 * Backward.  of loss * inv_count, with p_v = exp(z_v - lse):
 *            dz_v = inv_count (p_v - (1-e) [v = y] - e/V)
 *            through the cap, z = c tanh(a/c), dz/da = 1 - tanh^2 = 1 - (z/c)^2;  d(h U^T) = logit_scale da
 *            dh = d(h U^T) U,   dU += d(h U^T)^T h
 *            d(h U^T) overwrites z, so forward and backward are one pass per chunk.
 * Shapes.    h (M,C) f32|bf16   u (V,C) f32|bf16|f16|nf4   targets (M) i32, a label or -100   loss (1) f64, accumulated
 *            dh (M,C) overwritten, zero in ignored rows, or null   du (V,C) f32, accumulated, or null   scratch u8
 *            A chunk is Tc rows that are not ignored: those that are cost nothing.
 * Memory.    Tc depends on V alone: as many rows, in sixteens, as 32 MiB of f32 logits hold, at least 32 (with fewer,
 *            reading U costs more than multiplying by it). scratch min(Tc, M) (4 V + C size(h) + 16) bytes. Logits at
 *            V = 32000: Tc = 256, 31.3 MiB; 128256: 64, 31.3 MiB; 262144: 32, 32 MiB. U is read once a chunk, twice
 *            with dh.
 * Rounding.  Logits, exponentials and dz in f32 also when h is bf16; max exact; sums, lse and loss in f64; dh rounded
 *            once. The target's dz is formed in f64, where p_y - 1 cancels.
 * Mirrors.   Kernels.crossEntropy - CrossEntropyTest
 */
#include <math.h>

#include "rows.h"

enum { IGNORED = -100, CHUNK_BYTES = 32 << 20, ROWS_STEP = 16, LEAST_ROWS = 32 };

static int64_t chunk_rows(int64_t vocab) {
  int64_t rows = CHUNK_BYTES / (vocab * (int64_t)sizeof(float)) / ROWS_STEP * ROWS_STEP;
  return rows < LEAST_ROWS ? LEAST_ROWS : rows;
}

/* Where the parts of the scratch lie, in bytes from its first multiple of 64. */
typedef struct parts {
  int64_t rows, h, logits, loss, token, bytes;
} parts;

static int64_t rounded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static parts layout(int64_t tokens, int64_t hidden, int64_t vocab, int32_t dtype) {
  parts p = {.rows = chunk_rows(vocab)};
  if (p.rows > tokens) p.rows = tokens;
  p.logits = p.h + rounded(p.rows * hidden * (dtype == HONE_F32 ? 4 : 2));
  p.loss = p.logits + rounded(p.rows * vocab * (int64_t)sizeof(float));
  p.token = p.loss + rounded(p.rows * (int64_t)sizeof(double));
  p.bytes = p.token + rounded(p.rows * (int64_t)sizeof(int64_t));
  return p;
}

int64_t hone_cross_entropy_scratch_bytes(int64_t tokens, int64_t hidden, int64_t vocab, int32_t dtype) {
  if (tokens < 0 || hidden < 1 || vocab < 1 || (dtype != HONE_F32 && dtype != HONE_BF16)) {
    hone_fail(HONE_BAD_ARGUMENT, "cross_entropy_scratch_bytes: %lld tokens, hidden %lld, vocabulary %lld, %s",
              (long long)tokens, (long long)hidden, (long long)vocab, hone_dtype_name(dtype));
    return -1;
  }
  return layout(tokens, hidden, vocab, dtype).bytes + 63;
}

typedef struct row_settings {
  float logit_scale, softcap, label_smoothing, inv_count;
  bool gradient;
} row_settings;

/* One row of h U^T: returns its loss; with `gradient`, z becomes d(loss inv_count) / d(h U^T). */
static double row_loss(const hone_rows *rows, float *z, int64_t vocab, int32_t target, const row_settings *s) {
  if (s->softcap > 0) {
    rows->softcap(z, s->logit_scale, s->softcap, vocab);
  } else if (s->logit_scale != 1.0f) {
    rows->scale(z, z, s->logit_scale, vocab);
  }
  float max = rows->max(z, vocab);
  double smoothing = s->label_smoothing, of_target = z[target];
  double mean = smoothing > 0 ? rows->sum(z, vocab) / (double)vocab : 0;
  bool exponentials = s->gradient && !(s->softcap > 0);
  double sum = exponentials ? rows->into_exp(z, max, vocab) : rows->sum_exp(z, max, vocab);
  double lse = (double)max + log(sum);
  if (s->gradient) {
    double factor = (double)s->inv_count * (double)s->logit_scale, uniform = smoothing / (double)vocab;
    double d = factor * (exp(of_target - lse) - (1 - smoothing) - uniform);
    if (exponentials) {
      rows->affine(z, (float)(factor / sum), (float)(factor * uniform), vocab);
    } else {
      rows->capped_gradient(z, max, (float)(factor / sum), (float)(factor * uniform), s->softcap, vocab);
      double t = of_target / (double)s->softcap;
      d *= 1 - t * t;
    }
    z[target] = (float)d;
  }
  return lse - (1 - smoothing) * of_target - smoothing * mean;
}

static int32_t check(const hone_tensor *loss, const hone_tensor *dh, const hone_tensor *du, const hone_tensor *scratch,
                     const hone_tensor *h, const hone_tensor *u, const hone_tensor *targets, const row_settings *s) {
  const char *op = "cross_entropy";
  HONE_CHECK1(op, loss, HONE_DTYPE_BIT(HONE_F64), 1);
  HONE_CHECK2(op, h, HONE_ACTIVATIONS, -1, -1);
  int64_t tokens = h->shape[0], hidden = h->shape[1];
  HONE_CHECK2(op, u, HONE_WEIGHTS, -1, hidden);
  int64_t vocab = u->shape[0];
  HONE_REQUIRE(hidden > 0 && vocab > 0, "%s: %s has no elements", op, u->name);
  if (dh) HONE_CHECK2(op, dh, HONE_DTYPE_BIT(h->dtype), tokens, hidden);
  if (du) HONE_CHECK2(op, du, HONE_DTYPE_BIT(HONE_F32), vocab, hidden);
  HONE_CHECK1(op, targets, HONE_DTYPE_BIT(HONE_I32), tokens);
  HONE_CHECK1(op, scratch, HONE_DTYPE_BIT(HONE_U8), -1);
  int64_t bytes = hone_cross_entropy_scratch_bytes(tokens, hidden, vocab, h->dtype);
  HONE_REQUIRE(scratch->shape[0] >= bytes, "%s: %s has %lld bytes, want %lld", op, scratch->name,
               (long long)scratch->shape[0], (long long)bytes);
  HONE_REQUIRE(s->softcap >= 0, "%s: softcap is %g, want 0 (none) or more", op, (double)s->softcap);
  HONE_REQUIRE(s->label_smoothing >= 0 && s->label_smoothing < 1,
               "%s: label_smoothing is %g, want 0 or more and below 1", op, (double)s->label_smoothing);
  const int32_t *target = targets->data;
  for (int64_t m = 0; m < tokens; m++) {
    HONE_REQUIRE(target[m] == IGNORED || (target[m] >= 0 && target[m] < vocab),
                 "%s: %s[%lld] is %d, want -100 or 0 .. %lld", op, targets->name, (long long)m, target[m],
                 (long long)vocab - 1);
  }
  return HONE_OK;
}

static hone_tensor chunk_tensor(void *data, const char *name, int32_t dtype, int64_t rows, int64_t columns) {
  return (hone_tensor){.data = data, .name = name, .shape = {rows, columns, 1, 1}, .dtype = dtype, .rank = 2};
}

int32_t hone_cross_entropy(const hone_tensor *loss, const hone_tensor *dh, const hone_tensor *du,
                           const hone_tensor *scratch, const hone_tensor *h, const hone_tensor *u,
                           const hone_tensor *targets, float inv_count, float logit_scale, float softcap,
                           float label_smoothing) {
  const row_settings settings = {logit_scale, softcap, label_smoothing, inv_count, dh || du};
  HONE_TRY(check(loss, dh, du, scratch, h, u, targets, &settings));
  const hone_rows *rows = hone_rows_now();
  int64_t tokens = h->shape[0], hidden = h->shape[1], vocab = u->shape[0];
  size_t row_bytes = (size_t)hidden * (h->dtype == HONE_F32 ? 4 : 2);
  parts at = layout(tokens, hidden, vocab, h->dtype);
  char *base = (char *)scratch->data + (64 - (uintptr_t)scratch->data % 64) % 64;
  char *chunk_h = base + at.h;
  float *logits = (float *)(base + at.logits);
  double *row_losses = (double *)(base + at.loss), total = 0;
  int64_t *token = (int64_t *)(base + at.token);
  const int32_t *target = targets->data;

  for (int64_t next = 0; next < tokens;) {
    int64_t count = 0;
    for (; next < tokens && count < at.rows; next++) {
      if (target[next] != IGNORED) token[count++] = next;
    }
    if (!count) break;
    hone_tensor hc = chunk_tensor(chunk_h, h->name, h->dtype, count, hidden);
    hone_tensor z = chunk_tensor(logits, "logits", HONE_F32, count, vocab);
    for (int64_t i = 0; i < count; i++) {
      memcpy(chunk_h + (size_t)i * row_bytes, (const char *)h->data + (size_t)token[i] * row_bytes, row_bytes);
    }
    HONE_TRY(hone_linear_forward(&z, &hc, u, NULL, false));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
      row_losses[i] = row_loss(rows, logits + i * vocab, vocab, target[token[i]], &settings);
    }
    for (int64_t i = 0; i < count; i++) total += row_losses[i];
    if (du) HONE_TRY(hone_linear_backward_weight(du, NULL, &z, &hc));
    if (dh) { /* hc is not needed again: dh of the chunk overwrites it */
      hc.name = dh->name;
      HONE_TRY(hone_linear_backward_input(&hc, &z, u, 0));
      for (int64_t i = 0; i < count; i++) {
        memcpy((char *)dh->data + (size_t)token[i] * row_bytes, chunk_h + (size_t)i * row_bytes, row_bytes);
      }
    }
  }
  if (dh) {
    for (int64_t m = 0; m < tokens; m++) {
      if (target[m] == IGNORED) memset((char *)dh->data + (size_t)m * row_bytes, 0, row_bytes);
    }
  }
  *(double *)loss->data += total;
  return HONE_OK;
}
