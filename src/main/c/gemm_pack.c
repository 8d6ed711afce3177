/*
 * gemm_pack.c - panels of the blocked product (gemm.c).
 *
 * B's panel is `columns` wide, lane (s,j) at s * columns + j, so that the tile loads vectors of it; A's elements are
 * broadcast one by one, so that A may lie anyhow: as it is in memory, copied row by row (k along its rows), or in panels
 * of tile height (k across). Nothing of A is transposed.
 */
#include "gemm_pack.h"

enum {
  AHEAD = 8,            /* rows across k fetched early: too short for the hardware to see a stream */
  ALIASED = 2048,       /* rows a multiple of this many bytes apart share few sets of a cache */
  L1_WAYS = 8,          /* of which one or two hold B's lines */
  SHORT_PRODUCT = 2,    /* panels of B: A's elements meet so few columns that copying them costs more than misses */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Whether the operand's elements are lanes (or halves of lanes) as they lie in memory. */
static bool is_direct(const hone_gemm_plan *g, const hone_gemm_operand *o) {
  if (o->mask.p > 0) return false;
  return g->kernel->pairs ? o->tensor->dtype == HONE_BF16 : o->tensor->dtype == HONE_F32 && !g->bf16;
}

/* Whether the elements are bf16, which become f32 lanes by widening alone. */
static bool is_widened(const hone_gemm_plan *g, const hone_gemm_operand *o) {
  return !g->kernel->pairs && o->tensor->dtype == HONE_BF16 && o->mask.p == 0;
}

/* Bytes that hold n neighbouring elements. */
static int64_t bytes_of(const hone_tensor *t, int64_t n) {
  return t->dtype == HONE_F32 ? 4 * n : t->dtype == HONE_NF4 ? n / 2 : 2 * n;
}

/* n neighbouring elements as halves of lanes (pairs) or whole lanes. */
static void load_row(const hone_gemm_plan *g, void *out, const hone_gemm_operand *o, int64_t offset, int64_t n) {
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

/* Lanes of the longest row that is converted in scratch. */
static int64_t row_lanes(const hone_gemm_plan *g) {
  const int64_t across = max64(g->group * g->kernel->columns, HONE_GEMM_PACK_PANELS * g->tile_rows);
  return max64(g->stretch, across);
}

/* B, k running along its rows, into padded panels. */
static void pack_along(const hone_gemm_plan *g, uint32_t *out, const part *p, int64_t width, uint32_t *scratch) {
  const hone_gemm_operand *o = p->o;
  const int64_t per_lane = g->kernel->pairs ? 2 : 1, ld = o->tensor->shape[1], strip = g->kernel->strip;
  const int64_t steps = p->steps, row = row_lanes(g);
  const bool direct = is_direct(g, o) && p->count % per_lane == 0;
  const bool halves = is_widened(g, o);
  const int64_t size = halves ? 2 : 4 / per_lane;
  for (int64_t panel = 0; panel < p->rows; panel += width, out += width * p->full) {
    const int64_t here = min64(width, p->rows - panel);
    for (int64_t i = 0; i < width; i += strip) {
      const int32_t some = (int32_t)max64(0, min64(strip, here - i)), fill = (int32_t)min64(strip, width - i);
      const int64_t first = (p->first + panel + i) * ld + p->from;
      const void *in = (const char *)o->tensor->data + first * size;
      if (halves) {
        g->kernel->transpose_bf16(out + i, width, in, ld * size, some, fill, steps);
        continue;
      }
      if (direct) {
        g->kernel->transpose(out + i, width, in, ld * size, some, fill, steps);
        continue;
      }
      for (int64_t r = 0; r < some; r++) {
        if (steps) scratch[r * row + steps - 1] = 0; /* the half beyond an odd depth */
        load_row(g, scratch + r * row, o, first + r * ld, p->count);
      }
      g->kernel->transpose(out + i, width, scratch, row * 4, some, fill, steps);
    }
  }
}

/* A, k running along its rows, row by row. */
static void pack_rows(const hone_gemm_plan *g, uint32_t *out, const part *p) {
  for (int64_t i = 0; i < p->rows; i++, out += p->full) {
    memset(out + p->count / (g->kernel->pairs ? 2 : 1), 0, (size_t)(p->full - p->count / (g->kernel->pairs ? 2 : 1)) * 4);
    load_row(g, out, p->o, (p->first + i) * p->o->tensor->shape[1] + p->from, p->count);
  }
}

/* As memcpy, without a call for the few lanes of a tile's height. */
static inline void copy_lanes(uint32_t *out, const uint32_t *in, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) memcpy(out + i, in + i, 16);
  for (; i + 2 <= n; i += 2) memcpy(out + i, in + i, 8);
  if (i < n) out[i] = in[i];
}

/* The same for an operand whose rows are neighbours in memory: (k, rows). */
static void pack_across(const hone_gemm_plan *g, uint32_t *out, const part *p, int64_t width, bool padded, uint32_t *scratch) {
  const hone_gemm_operand *o = p->o;
  const bool pairs = g->kernel->pairs, direct = is_direct(g, o);
  const int64_t per_lane = pairs ? 2 : 1, size = 4 / per_lane, steps = p->steps;
  const int64_t first = p->first, rows = p->rows, from = p->from, count = p->count;
  const int64_t ld = o->tensor->shape[1], row_stride = row_lanes(g);
  for (int64_t s = 0; s < steps; s++) {
    const void *row[2] = {scratch, scratch + row_stride};
    for (int64_t h = 0; h < per_lane; h++) {
      const int64_t k = s * per_lane + h;
      if (k >= count) {
        memset(scratch + h * row_stride, 0, (size_t)(rows * size));
      } else if (direct) {
        const char *later = (const char *)o->tensor->data + ((from + k + AHEAD) * ld + first) * size;
        for (int64_t byte = 0; byte < rows * size; byte += 64) __builtin_prefetch(later + byte);
        row[h] = (const char *)o->tensor->data + ((from + k) * ld + first) * size;
      } else {
        load_row(g, scratch + h * row_stride, o, (from + k) * ld + first, rows);
      }
    }
    for (int64_t panel = 0; panel < rows; panel += width) {
      const int64_t here = min64(width, rows - panel), stride = padded ? width : here;
      uint32_t *lanes = out + panel * p->full + s * stride;
      if (pairs) {
        g->kernel->pair(lanes, (const uint16_t *)row[0] + panel, (const uint16_t *)row[1] + panel, here);
      } else {
        copy_lanes(lanes, (const uint32_t *)row[0] + panel, here);
      }
      if (here < stride) memset(lanes + here, 0, (size_t)(stride - here) * 4);
    }
  }
}

/* B of f32 or bf16 rows across k: whole panels are gathered at once, what is left goes the general way. */
static void gather_across(const hone_gemm_plan *g, uint32_t *out, const part *p, int64_t width, uint32_t *scratch) {
  const hone_tensor *t = p->o->tensor;
  const int64_t ld = t->shape[1], whole = p->rows / width * width;
  const char *in = (const char *)t->data + bytes_of(t, p->from * ld + p->first);
  g->kernel->gather(out, width * p->full, whole / width, in, bytes_of(t, ld), p->steps, t->dtype == HONE_BF16);
  if (whole == p->rows) return;
  part rest = *p;
  rest.first += whole;
  rest.rows -= whole;
  pack_across(g, out + whole * p->full, &rest, width, true, scratch);
}

/* Panels of whole rows, padded with zero rows and lanes. */
static void pack_whole(const hone_gemm_plan *g, uint32_t *out, const part *p, int64_t width, uint32_t *scratch) {
  const hone_gemm_operand *o = p->o;
  const int64_t full = p->full, strip = g->kernel->strip;
  uint32_t *across = scratch + 2 * row_lanes(g);
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

/* ---- what gemm.c asks for ---------------------------------------------------------------------------------------- */

static part part_of(const hone_gemm_plan *g, const hone_gemm_operand *o, int64_t first, int64_t rows, int64_t stretch) {
  const int64_t per_lane = g->kernel->pairs ? 2 : 1, from = stretch * g->stretch * per_lane;
  const int64_t count = min64(g->stretch * per_lane, g->depth - from);
  return (part){o, first, rows, from, count, ceil_div(count, per_lane), hone_gemm_steps(g, stretch)};
}

/* Rows that a block of A takes in its packed form. */
static int64_t packed_rows(const hone_gemm_plan *g, int64_t rows) {
  return g->kernel->rows_whole ? ceil_div(rows, g->tile_rows) * g->tile_rows : rows;
}

bool hone_gemm_reads_in_place(const hone_gemm_plan *g) {
  const int64_t panels = ceil_div(g->n, g->kernel->columns), stride = g->a->tensor->shape[1] * 4;
  const bool apart = stride % ALIASED || g->kernel->rows <= L1_WAYS - 2;
  return !g->a->across && !g->kernel->pairs && is_direct(g, g->a) && (apart || panels <= SHORT_PRODUCT);
}

size_t hone_gemm_block_bytes(const hone_gemm_plan *g) {
  return g->in_place ? 4 : (size_t)(packed_rows(g, g->block_rows) * g->steps) * 4;
}

size_t hone_gemm_scratch_bytes(const hone_gemm_plan *g) {
  return (size_t)((g->kernel->rows_whole ? 2 + g->kernel->rows : g->kernel->strip) * row_lanes(g)) * 4;
}

void hone_gemm_pack_a(const hone_gemm_plan *g, uint32_t *shared, int64_t base, int64_t rows, int64_t stretch,
                      int64_t panel, uint32_t *scratch) {
  const int64_t at = panel * g->tile_rows, some = min64(HONE_GEMM_PACK_PANELS * g->tile_rows, rows - at);
  const part p = part_of(g, g->a, base + at, some, stretch);
  uint32_t *out = shared + stretch * g->stretch * packed_rows(g, rows) + at * p.full;
  if (g->kernel->rows_whole) {
    pack_whole(g, out, &p, g->tile_rows, scratch);
  } else if (p.o->across) {
    pack_across(g, out, &p, g->tile_rows, false, scratch);
  } else {
    pack_rows(g, out, &p);
  }
}

void hone_gemm_pack_b(const hone_gemm_plan *g, uint32_t *out, int64_t column, int64_t columns, int64_t stretch,
                      uint32_t *scratch) {
  const int64_t width = g->kernel->columns;
  const part p = part_of(g, g->b, column, columns, stretch);
  if (!p.o->across) {
    pack_along(g, out, &p, width, scratch);
  } else if (!g->kernel->pairs && (is_direct(g, p.o) || is_widened(g, p.o))) {
    gather_across(g, out, &p, width, scratch);
  } else {
    pack_across(g, out, &p, width, true, scratch);
  }
  for (int64_t panel = 0; panel < columns && p.full > p.steps; panel += width) { /* zero lanes behind the last step */
    memset(out + panel * p.full + p.steps * width, 0, (size_t)((p.full - p.steps) * width) * 4);
  }
}

hone_gemm_rows hone_gemm_rows_of_a(const hone_gemm_plan *g, const uint32_t *shared, int64_t base, int64_t rows,
                                   int64_t stretch, int64_t panel) {
  const int64_t row = panel * g->tile_rows, height = min64(g->tile_rows, rows - row), from = stretch * g->stretch;
  const int64_t steps = hone_gemm_steps(g, stretch), ld = g->a->tensor->shape[1];
  if (g->in_place) {
    return (hone_gemm_rows){(const uint32_t *)g->a->tensor->data + (base + row) * ld + from, ld, 1, (int32_t)height};
  }
  const uint32_t *lanes = shared + from * packed_rows(g, rows) + row * steps;
  return g->a->across && !g->kernel->rows_whole ? (hone_gemm_rows){lanes, 1, height, (int32_t)height}
                                                : (hone_gemm_rows){lanes, steps, 1, (int32_t)height};
}
