/*
 * Linear + cross-entropy; the logits never exist whole.
 *
 * Forward.   a = logit_scale h U^T,   z = a, or c tanh(a / c) with softcap c > 0
 *            lse = max + log sum_v exp(z_v - max),   nll = lse - z_y,   y the target
 *            loss += sum over rows with y != -100 of (1-e) nll + e mean_v (lse - z_v) = lse - (1-e) z_y - e mean_v z_v
 * Backward.  of loss * inv_count, with p_v = exp(z_v - lse):
 *            dz_v = inv_count (p_v - (1-e) [v = y] - e/V)
 *            through the cap, z = c tanh(a/c), dz/da = 1 - tanh^2 = 1 - (z/c)^2;  d(h U^T) = logit_scale da
 *            dh = d(h U^T) U,   dU += d(h U^T)^T h
 *            d(h U^T) overwrites z, so forward and backward are one pass.
 * Shapes.    h (M,C) f32|bf16   u (V,C) f32|bf16|f16|nf4   targets (M) i32, a label or -100   loss (1) f64, accumulated
 *            dh (M,C) overwritten, zero in ignored rows, or null   du (V,C) f32, accumulated, or null   scratch u8
 *            Rows that are ignored cost nothing.
 * Two ways.  Tiles (head_tile.h): where U is frozen and C <= 1024. A run of rows walks over the vocabulary with an online
 *            softmax, logits never leave the first-level cache, U is read once a run:
 *            D = sum_v e^(z_v - top) dz_v/da_v U_v is rescaled when top rises, and divided by the sum at the end.
 *            Label smoothing's part needs the mean of U's rows alone, mean_v z_v = logit_scale h . mean, unless there is
 *            a softcap as well.
 *            Chunks: everything else. Whole rows of logits, Tc rows at a time; U is read once a chunk, twice with dh.
 * Memory.    Tc depends on V alone: as many rows, in sixteens, as 32 MiB of f32 logits hold, at least 32 (with fewer,
 *            reading U costs more than multiplying by it). scratch min(Tc, M) (4 V + C size(h) + 16) bytes. Logits at
 *            V = 32000: Tc = 256, 31.3 MiB; 128256: 64, 31.3 MiB; 262144: 32, 32 MiB.
 *            Tiles want scratch 16 M + 4 C bytes, and take (2 run + 96) C f32 for a run of at most 256 rows, in each
 *            thread, or, where runs are fewer than four for each thread, for each part of the vocabulary, as many as
 *            16 MiB hold or threads need.
 * Rounding.  Logits, exponentials and dz in f32 also when h is bf16; max exact; sums of a block or row, lse and loss in
 *            f64; dh rounded once. Nothing cancels in the target's p_y - 1: chunks form it in f64, tiles from the others.
 * Mirrors.   Kernels.crossEntropy - CrossEntropyTest
 */
#include <math.h>

#include "head.h"
#include "rows.h"

enum {
  IGNORED = -100,
  CHUNK_BYTES = 32 << 20, ROWS_STEP = 16, LEAST_ROWS = 32, /* of logits in a chunk */
  WIDEST_TILED = 1024,                                     /* hidden size */
  MEAN_COLUMNS = 64,                                       /* of U's mean at a time */
  LONGEST_RUN = 256, ITEMS_BYTES = 16 << 20,               /* rows of an item of tiles, items of one call */
  LEAST_PART = 64,                                         /* of the vocabulary of an item */
  SHARED_SLOT = 2, THREAD_SLOT = 3,                        /* workspace */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

/* Where the parts of the scratch of tiles lie: each labelled row's loss, its token, the mean of U's rows. */
typedef struct tiled_parts {
  int64_t token, mean, bytes;
} tiled_parts;

static tiled_parts tiled_layout(int64_t tokens, int64_t hidden) {
  tiled_parts p = {.token = tokens * (int64_t)sizeof(double)};
  p.mean = p.token + tokens * (int64_t)sizeof(int64_t);
  p.bytes = p.mean + hidden * (int64_t)sizeof(float);
  return p;
}

/* The tiles that serve a call, or null: dU would need the logits twice, bf16 instructions multiply faster than f32, and wide
 * rows outgrow the caches while their logits cost less beside the product. */
static const hone_head_path *tiles_for(int32_t dtype, int64_t hidden, bool weight_trains) {
#if defined(__x86_64__)
  const int32_t isa = hone_isa();
  if (weight_trains || hidden > WIDEST_TILED || isa == HONE_ISA_REFERENCE) return NULL;
  if (dtype == HONE_BF16 && isa >= HONE_ISA_AVX512_BF16) return NULL;
  return isa >= HONE_ISA_AVX512 ? &hone_head_avx512 : &hone_head_avx2;
#else
  (void)dtype, (void)hidden, (void)weight_trains;
  return NULL;
#endif
}

int64_t hone_cross_entropy_scratch_bytes(int64_t tokens, int64_t hidden, int64_t vocab, int32_t dtype,
                                         int32_t weight_trains, float softcap) {
  if (tokens < 0 || hidden < 1 || vocab < 1 || (dtype != HONE_F32 && dtype != HONE_BF16)) {
    hone_fail(HONE_BAD_ARGUMENT, "cross_entropy_scratch_bytes: %lld tokens, hidden %lld, vocabulary %lld, %s",
              (long long)tokens, (long long)hidden, (long long)vocab, hone_dtype_name(dtype));
    return -1;
  }
  /* Both where it may be either: a head that trains is frozen in evaluation, capped logits may have smoothed labels. */
  const bool tiled = tiles_for(dtype, hidden, weight_trains) && !(softcap > 0);
  const int64_t chunks = tiled ? 0 : layout(tokens, hidden, vocab, dtype).bytes;
  return hone_max(chunks, tiled_layout(tokens, hidden).bytes) + 63;
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
  int64_t bytes = hone_cross_entropy_scratch_bytes(tokens, hidden, vocab, h->dtype, du != NULL, s->softcap);
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

/* ---- chunks of whole rows of logits -------------------------------------------------------------------------------- */

static hone_tensor chunk_tensor(void *data, const char *name, int32_t dtype, int64_t rows, int64_t columns) {
  return (hone_tensor){.data = data, .name = name, .shape = {rows, columns, 1, 1}, .dtype = dtype, .rank = 2};
}

static int32_t by_chunks(double *total, const hone_tensor *dh, const hone_tensor *du, char *scratch, const hone_tensor *h,
                         const hone_tensor *u, const int32_t *target, const row_settings *settings) {
  const hone_rows *rows = hone_rows_now();
  int64_t tokens = h->shape[0], hidden = h->shape[1], vocab = u->shape[0];
  size_t row_bytes = (size_t)hidden * (h->dtype == HONE_F32 ? 4 : 2);
  parts at = layout(tokens, hidden, vocab, h->dtype);
  char *chunk_h = scratch + at.h;
  float *logits = (float *)(scratch + at.logits);
  double *row_losses = (double *)(scratch + at.loss);
  int64_t *token = (int64_t *)(scratch + at.token);

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
      row_losses[i] = row_loss(rows, logits + i * vocab, vocab, target[token[i]], settings);
    }
    for (int64_t i = 0; i < count; i++) *total += row_losses[i];
    if (du) HONE_TRY(hone_linear_backward_weight(du, NULL, &z, &hc));
    if (dh) { /* hc is not needed again: dh of the chunk overwrites it */
      hc.name = dh->name;
      HONE_TRY(hone_linear_backward_input(&hc, &z, u, 0));
      for (int64_t i = 0; i < count; i++) {
        memcpy((char *)dh->data + (size_t)token[i] * row_bytes, chunk_h + (size_t)i * row_bytes, row_bytes);
      }
    }
  }
  return HONE_OK;
}

/* ---- tiles: head_tile.h -------------------------------------------------------------------------------------------- */

/* Mean of U's rows, as products have them, summed in f64. */
static void mean_of_rows(float *mean, const hone_tensor *u, bool rounded) {
  const int64_t vocab = u->shape[0], hidden = u->shape[1];
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < hidden; first += MEAN_COLUMNS) {
    const int64_t n = hone_min(MEAN_COLUMNS, hidden - first);
    double sum[MEAN_COLUMNS] = {0};
    float row[MEAN_COLUMNS];
    for (int64_t v = 0; v < vocab; v++) {
      hone_load(row, u, v * hidden + first, n);
      for (int64_t j = 0; j < n; j++) sum[j] += (double)(rounded ? hone_bf16_to_f32(hone_f32_to_bf16(row[j])) : row[j]);
    }
    for (int64_t j = 0; j < n; j++) mean[first + j] = (float)(sum[j] / (double)vocab);
  }
}

/* Items: runs of rows as long as may be, since each reads all of U; with fewer than four runs for each thread, several items
 * share a run, each with its part of the vocabulary. */
static int32_t walk_tiles(const hone_head_path *path, hone_head *head, int64_t count) {
  const int64_t threads = hone_threads(), vocab = head->u->shape[0];
  const int64_t panels = ceil_div(ceil_div(count, ceil_div(count, LONGEST_RUN)), path->panel);
  const int64_t run = panels * path->panel, runs = ceil_div(count, run);
  head->run = run;
  const size_t bytes = (path->bytes(head) + 63) / 64 * 64;
  const int64_t wanted = hone_min(ceil_div(4 * threads, runs), ITEMS_BYTES / (runs * (int64_t)bytes));
  const int64_t parts = hone_max(wanted, ceil_div(threads, runs));
  const int64_t splits = threads > 1 && vocab >= parts * LEAST_PART ? parts : 1;
  char *shared = splits > 1 ? hone_workspace(SHARED_SLOT, bytes * (size_t)(runs * splits)) : NULL;
  bool failed = splits > 1 && !shared;
#pragma omp parallel
  {
    char *mine = splits > 1 ? shared : hone_workspace(THREAD_SLOT, bytes);
    if (!mine) {
#pragma omp atomic write
      failed = true;
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t item = 0; item < runs * splits; item++) {
      const int64_t first = item / splits * run, rows = hone_min(run, count - first), part = item % splits;
      if (!mine) continue;
      char *scratch = splits > 1 ? shared + bytes * (size_t)item : mine;
      path->walk(head, scratch, first, rows, vocab * part / splits, vocab * (part + 1) / splits);
      if (splits == 1) path->finish(head, scratch, first, rows);
    }
    if (splits > 1 && shared) {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < runs; i++) {
        char *scratch = shared + bytes * (size_t)(i * splits);
        const int64_t rows = hone_min(run, count - i * run);
        for (int64_t part = 1; part < splits; part++) path->merge(head, scratch, scratch + bytes * (size_t)part, rows);
        path->finish(head, scratch, i * run, rows);
      }
    }
  }
  return failed ? hone_fail(HONE_OUT_OF_MEMORY, "cross_entropy: no memory for %lld bytes of scratch in a thread",
                            (long long)bytes) : HONE_OK;
}

static int32_t by_tiles(const hone_head_path *path, double *total, const hone_tensor *dh, char *scratch,
                        const hone_tensor *h, const hone_tensor *u, const int32_t *target, const row_settings *s) {
  const int64_t tokens = h->shape[0];
  const tiled_parts at = tiled_layout(tokens, h->shape[1]);
  double *row_losses = (double *)scratch;
  int64_t *token = (int64_t *)(scratch + at.token), count = 0;
  float *mean = s->label_smoothing > 0 ? (float *)(scratch + at.mean) : NULL;
  for (int64_t m = 0; m < tokens; m++) {
    if (target[m] != IGNORED) token[count++] = m;
  }
  if (!count) return HONE_OK;
  if (mean) mean_of_rows(mean, u, h->dtype == HONE_BF16);
  hone_head head = {h, u, dh, token, target, row_losses, mean, s->logit_scale, s->softcap, s->label_smoothing,
                    s->inv_count * s->logit_scale, 0};
  HONE_TRY(walk_tiles(path, &head, count));
  for (int64_t i = 0; i < count; i++) *total += row_losses[i];
  return HONE_OK;
}

int32_t hone_cross_entropy(const hone_tensor *loss, const hone_tensor *dh, const hone_tensor *du,
                           const hone_tensor *scratch, const hone_tensor *h, const hone_tensor *u,
                           const hone_tensor *targets, float inv_count, float logit_scale, float softcap,
                           float label_smoothing) {
  const row_settings settings = {logit_scale, softcap, label_smoothing, inv_count, dh || du};
  HONE_TRY(check(loss, dh, du, scratch, h, u, targets, &settings));
  const int64_t tokens = h->shape[0];
  const size_t row_bytes = (size_t)h->shape[1] * (h->dtype == HONE_F32 ? 4 : 2);
  const int32_t *target = targets->data;
  char *base = (char *)scratch->data + (64 - (uintptr_t)scratch->data % 64) % 64;
  double total = 0;

  const hone_head_path *tiles = tiles_for(h->dtype, h->shape[1], du != NULL);
  if (tiles && !(softcap > 0 && label_smoothing > 0)) {
    HONE_TRY(by_tiles(tiles, &total, dh, base, h, u, target, &settings));
  } else {
    HONE_TRY(by_chunks(&total, dh, du, base, h, u, target, &settings));
  }
  if (dh) {
    for (int64_t m = 0; m < tokens; m++) {
      if (target[m] == IGNORED) memset((char *)dh->data + (size_t)m * row_bytes, 0, row_bytes);
    }
  }
  *(double *)loss->data += total;
  return HONE_OK;
}
