/*
 * The blocked product: C = scale A B^T over operands of any dtype and orientation.
 *
 *            for each block of at most 1024 rows of A                        (one unless tokens are many)
 *              pack the block of A, all of k, unless it can be read in place  shared, all threads pack; barrier
 *              for each group of column panels of B                           one task, any thread; C has one writer
 *                for each stretch of k: pack B's panels (decode, round, transpose)
 *                  for each panel of A, which stays in L1: multiply it by every panel of the group, which stay in L2
 *                the last stretch finishes its tiles: scale, bias, mask, +=, rounding
 *
 * Shapes.    A (m,k) or (k,m), B (n,k) or (k,n), C (m,n). When m x n pads better the other way round, A and B change
 *            places and tiles are stored transposed (a LoRA rank of 8 is 8 tile rows, not 8 of 32 columns); also,
 *            when it pads as well, to make the longer of two that lie across B, packed in L2 (a rank of 16).
 * Memory.    B is decoded once per block of A. Scratch: A's block <= 16 MiB of the calling thread unless read in place;
 *            panels of one group per thread, and its sums unless C is f32 and wants nothing else: tiles add to C then.
 * Rounding.  Sums of a stretch run over k in order, then they are added stretch by stretch, in f32, by one thread: the
 *            result depends on neither thread count nor timing.
 */
#include "gemm_pack.h"
#include "product.h"

enum {
  BLOCK_ROWS = 1024,         /* of A */
  BLOCK_BYTES = 16 << 20,    /* of A, packed */
  GROUP_BYTES = 192 << 10,   /* of B's packed panels in a task: in L2, beside the rows of A and of C that pass */
  WIDE_GROUP_BYTES = 384 << 10, WIDE_STRETCH = 256, /* where A is read from memory: fewer, wider groups, shorter k */
  LARGE_BYTES = 4 << 20,     /* of A: no longer in L3 from one task to the next */
  SUM_BYTES = 256 << 10,     /* of sums a thread, beyond four panels */
  SHARED_SLOT = 2,           /* workspace: A's block */
  THREAD_SLOT = 3,           /* workspace: B's panels, sums, rows being converted */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

const hone_gemm_kernel *hone_gemm_kernel_now(bool bf16) {
  switch (hone_isa()) {
#if defined(__x86_64__)
    case HONE_ISA_AMX:
      return bf16 ? &hone_gemm_amx : &hone_gemm_avx512;
    case HONE_ISA_AVX512_BF16:
      return bf16 ? &hone_gemm_avx512bf16 : &hone_gemm_avx512;
    case HONE_ISA_AVX512:
      return &hone_gemm_avx512;
    case HONE_ISA_AVX2:
      return &hone_gemm_avx2;
#endif
    default:
      return NULL;
  }
}

/* ---- the loops --------------------------------------------------------------------------------------------------- */

/* Result rows lie far apart: their lines come while the tile is computed. */
static void prefetch_result(const hone_tensor *t, const hone_gemm_place *p) {
  const int64_t size = t->dtype == HONE_F32 ? 4 : 2;
  for (int64_t i = 0; i < p->rows; i++) {
    const char *line = (const char *)t->data + ((p->row + i) * t->shape[1] + p->column) * size;
    for (int64_t byte = 0; byte < p->columns * size; byte += 64) __builtin_prefetch(line + byte, 1);
  }
}

/* The beginnings of the next panel of A's rows: the hardware finds the rest once it has seen these. */
static void fetch_rows(const hone_gemm_rows *a, const uint32_t *next) {
  enum { LINES = 4, LANES = 16 };
  for (int64_t i = 0; i < a->count; i++) {
    for (int64_t line = 0; line < LINES; line++) __builtin_prefetch(next + i * a->row_step + line * LANES, 0, 2);
  }
}

/* Whole panels of f32 times the result's factor: their tiles go to C as they are. */
static void scale_panels(uint32_t *lanes, int64_t count, float scale) {
  float *value = (float *)lanes;
  for (int64_t i = 0; i < count; i++) value[i] *= scale;
}

/* One group of B's panels against the panels first .. last-1 of A's block. */
static void multiply_group(const hone_gemm_plan *g, const uint32_t *shared, int64_t base, int64_t rows,
                           int64_t group_at, int64_t first, int64_t last, uint32_t *panels, float *sums,
                           uint32_t *scratch) {
  const int64_t wide = g->kernel->columns, tile_size = g->kernel->rows * wide;
  const int64_t column = group_at * g->group * wide, columns = min64(g->group * wide, g->n - column);
  for (int64_t stretch = 0; stretch < g->stretches; stretch++) {
    const int64_t steps = hone_gemm_steps(g, stretch);
    const bool done = stretch == g->stretches - 1;
    hone_gemm_pack_b(g, panels, column, columns, stretch, scratch);
    if (g->direct && g->c->scale != 1) scale_panels(panels, columns / wide * wide * steps, g->c->scale);
    for (int64_t i = first; i < last; i++) {
      const hone_gemm_rows a = hone_gemm_rows_of_a(g, shared, base, rows, stretch, i);
      if (i + 1 < last) fetch_rows(&a, hone_gemm_rows_of_a(g, shared, base, rows, stretch, i + 1).lanes);
      for (int64_t j = 0; j < columns; j += wide) {
        const hone_gemm_place place = {base + i * g->tile_rows, column + j, a.count, (int32_t)min64(wide, columns - j),
                                       g->swapped};
        const bool direct = g->direct && place.columns == wide;
        if (direct || (done && !g->swapped)) prefetch_result(g->c->tensor, &place);
        if (direct) {
          float *out = (float *)g->c->tensor->data + place.row * g->n + place.column;
          g->kernel->tile(&a, steps, panels + j * steps, out, g->n, stretch > 0 || g->c->accumulate);
          continue;
        }
        const int64_t slot = g->stretches == 1 ? 0 : (g->direct ? 0 : j / wide) * (last - first) + i - first;
        float *sum = sums + slot * tile_size;
        g->kernel->tile(&a, steps, panels + j * steps, sum, wide, stretch > 0);
        if (done) g->kernel->finish(g->c, sum, &place);
      }
    }
  }
}

static size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

static int32_t run(const char *op, const hone_gemm_plan *g) {
  const int64_t wide = g->kernel->columns, tile_size = g->kernel->rows * wide;
  const int64_t panels = ceil_div(g->block_rows, g->tile_rows);
  const size_t packed = align64((size_t)(g->group * wide * g->stretch) * 4);
  const int64_t kept = g->stretches == 1 ? 1 : (g->direct ? 1 : g->group) * panels; /* tiles whose sums are not in C */
  const size_t summed = align64((size_t)(kept * tile_size) * 4);
  uint32_t *shared = hone_workspace(SHARED_SLOT, hone_gemm_block_bytes(g));
  bool failed = !shared;
#pragma omp parallel if (g->m * g->n * g->depth > HONE_SMALL_PRODUCT)
  {
    char *mine = hone_workspace(THREAD_SLOT, packed + summed + hone_gemm_scratch_bytes(g));
    if (!mine) {
#pragma omp atomic write
      failed = true;
    }
    uint32_t *lanes = (uint32_t *)mine, *scratch = (uint32_t *)(mine + packed + summed);
    float *sums = (float *)(mine + packed);
    if (g->kernel->begin) g->kernel->begin();
    for (int64_t base = 0; base < g->m; base += g->block_rows) {
      const int64_t rows = min64(g->block_rows, g->m - base), height = ceil_div(rows, g->tile_rows);
      if (!g->in_place) {
#pragma omp for collapse(2) schedule(static)
        for (int64_t stretch = 0; stretch < g->stretches; stretch++) {
          for (int64_t panel = 0; panel < height; panel += HONE_GEMM_PACK_PANELS) {
            if (shared && mine) hone_gemm_pack_a(g, shared, base, rows, stretch, panel, scratch);
          }
        }
      }
#pragma omp for schedule(dynamic, 1) nowait
      for (int64_t task = 0; task < g->groups * g->splits; task++) {
        const int64_t part = task % g->splits;
        if (failed || !mine) continue;
        multiply_group(g, shared, base, rows, task / g->splits, height * part / g->splits,
                       height * (part + 1) / g->splits, lanes, sums, scratch);
      }
      if (base + g->block_rows < g->m) {
#pragma omp barrier
      }
    }
    if (g->kernel->end) g->kernel->end();
  }
  return failed ? hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for packed panels", op) : HONE_OK;
}

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

/* Rows of A that tiles of the best height cover, times padded columns: what the tiles compute. */
static int64_t padded_work(const hone_gemm_kernel *kernel, int64_t m, int64_t n) {
  return m * ceil_div(n, kernel->columns) * kernel->columns;
}

/* Whether A is so large, and B so narrow, that reading A once for each few panels of B costs more than all else. */
static bool is_deep(const hone_gemm_plan *g) {
  return g->m * g->steps * 4 > LARGE_BYTES && g->steps > 4 * g->n;
}

/* Stretches of equal size, in 64s (a block of NF4), as long as L1 allows. */
static void plan_depth(hone_gemm_plan *g) {
  g->steps = ceil_div(ceil_div(g->depth, g->kernel->pairs ? 2 : 1), g->kernel->depth) * g->kernel->depth;
  const int64_t most = is_deep(g) ? min64(WIDE_STRETCH, g->kernel->stretch) : g->kernel->stretch;
  g->stretch = min64(most, ceil_div(ceil_div(g->steps, max64(1, ceil_div(g->steps, most))), 64) * 64);
  g->stretches = g->steps ? ceil_div(g->steps, g->stretch) : 1;
}

/* Blocks of equal size, tiles of equal height in them. */
static void plan_rows(hone_gemm_plan *g) {
  int64_t most = g->in_place ? BLOCK_ROWS : BLOCK_BYTES / 4 / max64(1, g->steps);
  most = most > BLOCK_ROWS ? BLOCK_ROWS : max64(most, 4 * g->kernel->rows);
  g->block_rows = ceil_div(g->m, ceil_div(g->m, most));
  g->tile_rows = ceil_div(g->block_rows, ceil_div(g->block_rows, g->kernel->rows));
  if (g->kernel->rows_whole) g->tile_rows = ceil_div(g->tile_rows, 16) * 16;
}

/* Tasks: as many for each thread, at least four where there are columns for them and A is not read from memory. Where
 * there are fewer groups than threads, several tasks share a group's columns. */
static void plan_groups(hone_gemm_plan *g) {
  const int64_t wide = g->kernel->columns, panels = ceil_div(g->n, wide), threads = hone_threads();
  const int64_t bytes = max64(1, g->stretch * wide * 4);
  int64_t most = max64(1, (is_deep(g) ? WIDE_GROUP_BYTES : GROUP_BYTES) / bytes);
  if (!g->direct && g->stretches > 1) most = min64(most, max64(4, SUM_BYTES / 4 / max64(1, g->block_rows * wide)));
  if (!is_deep(g)) most = min64(most, ceil_div(panels, 4 * threads));
  const int64_t groups = ceil_div(ceil_div(panels, most), threads) * threads;
  g->group = ceil_div(panels, groups);
  g->groups = ceil_div(panels, g->group);
  g->splits = g->groups >= threads ? 1 : min64(ceil_div(threads, g->groups), ceil_div(g->block_rows, g->tile_rows));
}

int32_t hone_gemm(const char *op, const hone_gemm_result *c, const hone_gemm_operand *a, const hone_gemm_operand *b,
                  int64_t depth, bool bf16) {
  hone_gemm_plan g = {.kernel = hone_gemm_kernel_now(bf16), .c = c, .a = a, .b = b, .depth = depth, .bf16 = bf16};
  g.m = c->tensor->shape[0];
  g.n = c->tensor->shape[1];
  if (g.m == 0 || g.n == 0) return HONE_OK;
  const int64_t work = padded_work(g.kernel, g.m, g.n), swapped_work = padded_work(g.kernel, g.n, g.m);
  if (swapped_work < work || (swapped_work == work && a->across && g.n < g.m)) {
    g.swapped = true;
    g.a = b;
    g.b = a;
    g.m = c->tensor->shape[1];
    g.n = c->tensor->shape[0];
  }
  g.direct = !g.swapped && !g.kernel->rows_whole && c->tensor->dtype == HONE_F32 && !c->bias && c->mask.p == 0 &&
             (c->scale == 1 || !g.kernel->pairs);
  plan_depth(&g);
  g.in_place = hone_gemm_reads_in_place(&g);
  plan_rows(&g);
  plan_groups(&g);
  return run(op, &g);
}

/* ---- a few tokens ------------------------------------------------------------------------------------------------ */

int32_t hone_gemv(const char *op, const hone_tensor *y, const hone_tensor *x, const hone_tensor *w,
                  const hone_tensor *bias, bool accumulate) {
  enum { ROWS_A_TASK = 16 };
  const int64_t M = x->shape[0], K = x->shape[1], N = w->shape[0];
  const bool bf16 = x->dtype == HONE_BF16;
  const hone_gemm_kernel *kernel = hone_gemm_kernel_now(bf16);
  const int64_t wide = kernel->columns;
  const bool split = w->dtype == HONE_NF4 && K % wide == 0 && w->quant->block % wide == 0;
  const float *inputs = x->data;
  if (bf16 || split) {
    float *widened = hone_workspace(SHARED_SLOT, (size_t)(2 * M * K + 1) * sizeof(float)), *ordered = widened + M * K;
    if (!widened) return hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for %lld inputs", op, (long long)(M * K));
    kernel->load(widened, x, 0, M * K);
    for (int64_t i = 0; split && i < M * K; i++) {
      ordered[i / wide * wide + i % 2 * (wide / 2) + i % wide / 2] = widened[i];
    }
    inputs = split ? ordered : widened;
  }
#pragma omp parallel for schedule(static) if (M * N * K > HONE_SMALL_PRODUCT)
  for (int64_t first = 0; first < N; first += ROWS_A_TASK) {
    const int64_t count = min64(ROWS_A_TASK, N - first);
    float sums[HONE_GEMV_TOKENS][ROWS_A_TASK], of_row[HONE_GEMV_TOKENS], add[ROWS_A_TASK] = {0};
    if (bias) kernel->load(add, bias, first, count);
    for (int64_t i = 0; i < count; i++) {
      kernel->dot(of_row, inputs, K, (int32_t)M, w, (first + i) * K, K, bf16, split);
      for (int64_t t = 0; t < M; t++) sums[t][i] = of_row[t] + add[i];
    }
    for (int64_t t = 0; t < M; t++) hone_store(y, t * N + first, sums[t], count, accumulate);
  }
  return HONE_OK;
}
