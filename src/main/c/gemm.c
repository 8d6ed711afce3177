/*
 * The blocked product: C = scale A B^T over operands of any dtype and orientation.
 *
 *            for each block of at most 1024 rows of A                        (one unless tokens are many)
 *              pack the block of A into panels of tile height, all of k       shared, all threads pack; barrier
 *              for each group of up to 4 column panels of B                   one task, any thread; C has one writer
 *                for each stretch of k: pack B's panels (decode, round, transpose), multiply every tile of the group
 *                the last stretch finishes its tiles: scale, bias, mask, +=, rounding
 *
 * Shapes.    A (m,k) or (k,m), B (n,k) or (k,n), C (m,n). When m x n pads better the other way round, A and B change
 *            places and tiles are stored transposed (a LoRA rank of 8 is 8 tile rows, not 8 of 32 columns).
 * Memory.    B's panel (k stretch x 32 lanes) stays in L1, A's block in L2, B is decoded once per block of A. Scratch:
 *            A's block <= 16 MiB of the calling thread; panels and sums of one group per thread.
 * Rounding.  Sums run over k in order, in f32, by one thread: the result depends on neither thread count nor timing.
 */
#include "gemm.h"

#include "product.h"

enum {
  STRETCH = 256,             /* lanes of k a panel spans: 256 x 32 x 4 bytes = 32 KiB, L1 */
  GROUP = 4,                 /* column panels of a task: 128 KiB packed, L2 */
  BLOCK_ROWS = 1024,         /* of A */
  BLOCK_BYTES = 16 << 20,    /* of A, packed */
  PACK_PANELS = 8,           /* panels of A packed at a time, so that rows across k are read 8 tiles wide */
  SHARED_SLOT = 2,           /* workspace: A's block */
  THREAD_SLOT = 3,           /* workspace: B's panels, sums, rows being converted */
  AHEAD = 8,                 /* rows across k fetched early: too short for the hardware to see a stream */
};

typedef struct gemm {
  const hone_gemm_kernel *kernel;
  const hone_gemm_result *c;
  const hone_gemm_operand *a, *b;
  int64_t m, n, depth;
  int64_t steps, stretches;      /* lanes of k; how many STRETCHes they make */
  int64_t block_rows, tile_rows; /* rows of A at a time, and in a panel */
  int64_t group, groups;         /* panels of B in a task; tasks */
  int64_t splits;                /* tasks that share a group, each with its rows of A */
  bool bf16, swapped;
} gemm;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static const hone_gemm_kernel *kernel_for(bool bf16) {
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

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Whether the operand's elements are lanes (or halves of lanes) as they lie in memory. */
static bool is_direct(const gemm *g, const hone_gemm_operand *o) {
  if (o->mask.p > 0) return false;
  return g->kernel->pairs ? o->tensor->dtype == HONE_BF16 : o->tensor->dtype == HONE_F32 && !g->bf16;
}

/* n neighbouring elements as halves of lanes (pairs) or whole lanes. */
static void load_row(const gemm *g, void *out, const hone_gemm_operand *o, int64_t offset, int64_t n) {
  if (g->kernel->pairs) {
    g->kernel->load_bf16(out, o->tensor, offset, n, &o->mask);
    return;
  }
  g->kernel->load(out, o->tensor, offset, n);
  if (o->mask.p > 0) g->kernel->drop(out, offset, n, &o->mask);
  if (g->bf16 && o->tensor->dtype != HONE_BF16) g->kernel->round_bf16(out, n);
}

/* What is packed: rows first .. first+rows-1 of an operand by its depth from .. from+count-1, which are `steps` lanes;
 * panels are `full` >= steps lanes long. */
typedef struct part {
  const hone_gemm_operand *o;
  int64_t first, rows, from, count, steps, full;
} part;

/* k running along the rows' memory, into panels of `width`, the last one padded or narrower. */
static void pack_along(const gemm *g, uint32_t *out, const part *p, int64_t width, bool padded, uint32_t *scratch) {
  const hone_gemm_operand *o = p->o;
  const int64_t per_lane = g->kernel->pairs ? 2 : 1, size = 4 / per_lane, steps = p->steps;
  const int64_t first = p->first, rows = p->rows, from = p->from, count = p->count;
  const int64_t ld = o->tensor->shape[1], strip = g->kernel->strip;
  const bool direct = is_direct(g, o) && count % per_lane == 0;
  for (int64_t panel = 0; panel < rows; panel += width, out += width * p->full) {
    const int64_t here = min64(width, rows - panel), stride = padded ? width : here;
    for (int64_t i = 0; i < stride; i += strip) {
      const int64_t some = here - i < 0 ? 0 : min64(strip, here - i), fill = min64(strip, stride - i);
      const void *in = (const char *)o->tensor->data + ((first + panel + i) * ld + from) * size;
      int64_t in_stride = ld * size;
      if (!direct) {
        in = scratch;
        in_stride = STRETCH * 4;
        for (int64_t r = 0; r < some; r++) {
          if (steps) scratch[r * STRETCH + steps - 1] = 0; /* the half beyond an odd depth */
          load_row(g, scratch + r * STRETCH, o, (first + panel + i + r) * ld + from, count);
        }
      }
      g->kernel->transpose(out + i, stride, in, in_stride, (int32_t)some, (int32_t)fill, steps);
    }
  }
}

/* The same for an operand whose rows are neighbours in memory: (k, rows). */
static void pack_across(const gemm *g, uint32_t *out, const part *p, int64_t width, bool padded, uint32_t *scratch) {
  const hone_gemm_operand *o = p->o;
  const bool pairs = g->kernel->pairs, direct = is_direct(g, o);
  const int64_t per_lane = pairs ? 2 : 1, size = 4 / per_lane, steps = p->steps;
  const int64_t first = p->first, rows = p->rows, from = p->from, count = p->count;
  const int64_t ld = o->tensor->shape[1];
  for (int64_t s = 0; s < steps; s++) {
    const void *row[2] = {scratch, scratch + STRETCH};
    for (int64_t h = 0; h < per_lane; h++) {
      const int64_t k = s * per_lane + h;
      if (k >= count) {
        memset(scratch + h * STRETCH, 0, (size_t)(rows * size));
      } else if (direct) {
        const char *later = (const char *)o->tensor->data + ((from + k + AHEAD) * ld + first) * size;
        for (int64_t byte = 0; byte < rows * size; byte += 64) __builtin_prefetch(later + byte);
        row[h] = (const char *)o->tensor->data + ((from + k) * ld + first) * size;
      } else {
        load_row(g, scratch + h * STRETCH, o, (from + k) * ld + first, rows);
      }
    }
    for (int64_t panel = 0; panel < rows; panel += width) {
      const int64_t here = min64(width, rows - panel), stride = padded ? width : here;
      uint32_t *lanes = out + panel * p->full + s * stride;
      if (pairs) {
        g->kernel->pair(lanes, (const uint16_t *)row[0] + panel, (const uint16_t *)row[1] + panel, here);
      } else {
        memcpy(lanes, (const uint32_t *)row[0] + panel, (size_t)here * 4);
      }
      if (here < stride) memset(lanes + here, 0, (size_t)(stride - here) * 4);
    }
  }
}

/* Panels of whole rows, padded with zero rows and lanes. */
static void pack_whole(const gemm *g, uint32_t *out, const part *p, int64_t width, uint32_t *scratch) {
  const hone_gemm_operand *o = p->o;
  const int64_t full = p->full, strip = g->kernel->strip;
  uint32_t *across = scratch + 2 * STRETCH;
  for (int64_t panel = 0; panel < p->rows; panel += width, out += width * full) {
    part some = *p;
    some.first += panel;
    some.rows = min64(width, p->rows - panel);
    if (o->across) {
      pack_across(g, across, &some, width, true, scratch);
      for (int64_t s = 0; s < p->steps; s += strip) {
        const int64_t lanes = min64(strip, p->steps - s), fill = min64(strip, full - s);
        g->kernel->transpose(out + s, full, across + s * width, width * 4, (int32_t)lanes, (int32_t)fill, width);
      }
      continue;
    }
    for (int64_t i = 0; i < width; i++) {
      uint16_t *row = (uint16_t *)(out + i * full);
      const int64_t count = i < some.rows ? p->count : 0;
      if (count) load_row(g, row, o, (some.first + i) * o->tensor->shape[1] + p->from, count);
      memset(row + count, 0, (size_t)(2 * full - count) * sizeof *row);
    }
  }
}

static int64_t steps_of(const gemm *g, int64_t stretch) { return min64(STRETCH, g->steps - stretch * STRETCH); }

/* One stretch of some rows of A (panels of g->tile_rows) or B (panels of the kernel's columns, always padded). */
static void pack(const gemm *g, uint32_t *out, bool of_a, int64_t first, int64_t rows, int64_t stretch,
                 uint32_t *scratch) {
  const int64_t per_lane = g->kernel->pairs ? 2 : 1, span = STRETCH * per_lane, from = stretch * span;
  const int64_t count = min64(span, g->depth - from), width = of_a ? g->tile_rows : g->kernel->columns;
  const part p = {of_a ? g->a : g->b, first, rows, from, count, ceil_div(count, per_lane), steps_of(g, stretch)};
  if (of_a && g->kernel->rows_whole) {
    pack_whole(g, out, &p, width, scratch);
    return;
  }
  (p.o->across ? pack_across : pack_along)(g, out, &p, width, !of_a, scratch);
  for (int64_t panel = 0; panel < rows && p.full > p.steps; panel += width) { /* zero lanes behind the last step */
    const int64_t stride = of_a ? min64(width, rows - panel) : width;
    memset(out + panel * p.full + p.steps * stride, 0, (size_t)((p.full - p.steps) * stride) * 4);
  }
}

/* ---- the loops --------------------------------------------------------------------------------------------------- */

/* Rows that a block of A takes in its packed form. */
static int64_t packed_rows(const gemm *g, int64_t rows) {
  return g->kernel->rows_whole ? ceil_div(rows, g->tile_rows) * g->tile_rows : rows;
}

/* Panels first .. of A's block (rows base .. base+rows-1), every stretch of k, each stretch's panels together. */
static void pack_block(const gemm *g, uint32_t *shared, int64_t base, int64_t rows, int64_t stretch, int64_t panel,
                       uint32_t *scratch) {
  const int64_t at = panel * g->tile_rows, some = min64(PACK_PANELS * g->tile_rows, rows - at);
  uint32_t *out = shared + stretch * STRETCH * packed_rows(g, rows) + at * steps_of(g, stretch);
  pack(g, out, true, base + at, some, stretch, scratch);
}

/* Result rows lie far apart: their lines come while the tile is computed. */
static void prefetch_result(const hone_tensor *t, const hone_gemm_place *p) {
  const int64_t size = t->dtype == HONE_F32 ? 4 : 2;
  for (int64_t i = 0; i < p->rows; i++) {
    const char *line = (const char *)t->data + ((p->row + i) * t->shape[1] + p->column) * size;
    for (int64_t byte = 0; byte < p->columns * size; byte += 64) __builtin_prefetch(line + byte, 1);
  }
}

/* One group of B's panels against the panels first .. last-1 of A's block. */
static void multiply_group(const gemm *g, const uint32_t *shared, int64_t base, int64_t rows, int64_t group_at,
                           int64_t first, int64_t last, uint32_t *panels, float *sums, uint32_t *scratch) {
  const int64_t wide = g->kernel->columns, tile_size = g->kernel->rows * wide;
  const int64_t column = group_at * g->group * wide, columns = min64(g->group * wide, g->n - column);
  for (int64_t stretch = 0; stretch < g->stretches; stretch++) {
    const int64_t steps = steps_of(g, stretch);
    const uint32_t *block = shared + stretch * STRETCH * packed_rows(g, rows);
    const bool done = stretch == g->stretches - 1;
    pack(g, panels, false, column, columns, stretch, scratch);
    for (int64_t j = 0; j < columns; j += wide) {
      for (int64_t i = first; i < last; i++) {
        const int64_t row = i * g->tile_rows, height = min64(g->tile_rows, rows - row);
        float *sum = g->stretches == 1 ? sums : sums + ((j / wide) * (last - first) + i - first) * tile_size;
        const hone_gemm_place place = {base + row, column + j, (int32_t)height, (int32_t)min64(wide, columns - j),
                                       g->swapped};
        if (done && !g->swapped) prefetch_result(g->c->tensor, &place);
        g->kernel->tile((int32_t)height, steps, block + row * steps, panels + j * steps, sum, stretch > 0);
        if (!done) continue;
        g->kernel->finish(g->c, sum, &place);
      }
    }
  }
}

static size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

static int32_t run(const char *op, const gemm *g) {
  const int64_t wide = g->kernel->columns, tile_size = g->kernel->rows * wide;
  const int64_t panels = ceil_div(g->block_rows, g->tile_rows);
  const size_t packed = align64((size_t)(g->group * wide * STRETCH) * 4);
  const size_t summed = align64((size_t)(g->stretches == 1 ? tile_size : g->group * panels * tile_size) * 4);
  const size_t converted = (size_t)((g->kernel->rows_whole ? 2 + g->kernel->rows : g->kernel->strip) * STRETCH) * 4;
  uint32_t *shared = hone_workspace(SHARED_SLOT, (size_t)(packed_rows(g, g->block_rows) * g->steps) * 4);
  bool failed = !shared;
#pragma omp parallel if (g->m * g->n * g->depth > HONE_SMALL_PRODUCT)
  {
    char *mine = hone_workspace(THREAD_SLOT, packed + summed + converted);
    if (!mine) {
#pragma omp atomic write
      failed = true;
    }
    uint32_t *lanes = (uint32_t *)mine, *scratch = (uint32_t *)(mine + packed + summed);
    float *sums = (float *)(mine + packed);
    if (g->kernel->begin) g->kernel->begin();
    for (int64_t base = 0; base < g->m; base += g->block_rows) {
      const int64_t rows = min64(g->block_rows, g->m - base), height = ceil_div(rows, g->tile_rows);
#pragma omp for collapse(2) schedule(static)
      for (int64_t stretch = 0; stretch < g->stretches; stretch++) {
        for (int64_t panel = 0; panel < height; panel += PACK_PANELS) {
          if (shared && mine) pack_block(g, shared, base, rows, stretch, panel, scratch);
        }
      }
#pragma omp for schedule(dynamic, 1)
      for (int64_t task = 0; task < g->groups * g->splits; task++) {
        const int64_t part = task % g->splits;
        if (failed) continue; /* known to all since the packing ended */
        multiply_group(g, shared, base, rows, task / g->splits, height * part / g->splits,
                       height * (part + 1) / g->splits, lanes, sums, scratch);
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

int32_t hone_gemm(const char *op, const hone_gemm_result *c, const hone_gemm_operand *a, const hone_gemm_operand *b,
                  int64_t depth, bool bf16) {
  gemm g = {.kernel = kernel_for(bf16), .c = c, .a = a, .b = b, .depth = depth, .bf16 = bf16};
  g.m = c->tensor->shape[0];
  g.n = c->tensor->shape[1];
  if (g.m == 0 || g.n == 0) return HONE_OK;
  if (padded_work(g.kernel, g.n, g.m) < padded_work(g.kernel, g.m, g.n)) {
    g.swapped = true;
    g.a = b;
    g.b = a;
    g.m = c->tensor->shape[1];
    g.n = c->tensor->shape[0];
  }
  g.steps = ceil_div(ceil_div(depth, g.kernel->pairs ? 2 : 1), g.kernel->depth) * g.kernel->depth;
  g.stretches = depth ? ceil_div(g.steps, STRETCH) : 1;
  /* Blocks of equal size, tiles of equal height in them. */
  int64_t most = BLOCK_BYTES / 4 / (g.steps ? g.steps : 1);
  most = most > BLOCK_ROWS ? BLOCK_ROWS : most < 4 * g.kernel->rows ? 4 * g.kernel->rows : most;
  g.block_rows = ceil_div(g.m, ceil_div(g.m, most));
  const int64_t height = ceil_div(g.block_rows, g.kernel->rows);
  g.tile_rows = ceil_div(g.block_rows, height);
  if (g.kernel->rows_whole) g.tile_rows = ceil_div(g.tile_rows, 16) * 16;
  /* At least four tasks a thread where there are columns for it, else several tasks share a group's columns. */
  const int64_t panels = ceil_div(g.n, g.kernel->columns), threads = hone_threads();
  g.group = panels / (4 * threads) < 1 ? 1 : min64(GROUP, panels / (4 * threads));
  g.groups = ceil_div(panels, g.group);
  g.splits = g.groups >= threads ? 1 : min64(ceil_div(threads, g.groups), ceil_div(g.block_rows, g.tile_rows));
  return run(op, &g);
}

/* ---- a few tokens ------------------------------------------------------------------------------------------------ */

int32_t hone_gemv(const char *op, const hone_tensor *y, const hone_tensor *x, const hone_tensor *w,
                  const hone_tensor *bias) {
  enum { ROWS_A_TASK = 16 };
  const int64_t M = x->shape[0], K = x->shape[1], N = w->shape[0];
  const bool bf16 = x->dtype == HONE_BF16;
  const hone_gemm_kernel *kernel = kernel_for(bf16);
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
    for (int64_t t = 0; t < M; t++) hone_store(y, t * N + first, sums[t], count, false);
  }
  return HONE_OK;
}
