/*
 * gemm_pack.h - how gemm.c's operands become lanes: packed panels, or A's rows as they lie in memory.
 */
#ifndef HONE_GEMM_PACK_H
#define HONE_GEMM_PACK_H

#include "gemm.h"

/* One product, planned by gemm.c. */
typedef struct hone_gemm_plan {
  const hone_gemm_kernel *kernel;
  const hone_gemm_result *c;
  const hone_gemm_operand *a, *b;
  int64_t m, n, depth;
  int64_t steps;                 /* lanes of k */
  int64_t stretch, stretches;    /* lanes of k that a panel spans, and how many of these make up k */
  int64_t block_rows, tile_rows; /* rows of A at a time, and in a panel */
  int64_t group, groups;         /* panels of B in a task; groups of them */
  int64_t splits;                /* tasks that share a group, each with its rows of A */
  bool bf16, swapped;
  bool in_place; /* A is not packed */
  bool direct;   /* whole tiles sum into C itself */
} hone_gemm_plan;

/* Lanes of a stretch. */
static inline int64_t hone_gemm_steps(const hone_gemm_plan *g, int64_t stretch) {
  int64_t left = g->steps - stretch * g->stretch;
  return left < g->stretch ? left : g->stretch;
}

/* Whether A's rows are lanes as they lie, and lie so that caches hold several of them. */
bool hone_gemm_reads_in_place(const hone_gemm_plan *g);

/* Bytes of A's packed block, and of a thread's scratch for rows being converted. */
size_t hone_gemm_block_bytes(const hone_gemm_plan *g);
size_t hone_gemm_scratch_bytes(const hone_gemm_plan *g);

/* Some panels of A from `panel` on, one stretch of k, of the block of rows base .. base+rows-1. */
enum { HONE_GEMM_PACK_PANELS = 8 /* so that rows across k are read 8 tiles wide */ };
void hone_gemm_pack_a(const hone_gemm_plan *g, uint32_t *shared, int64_t base, int64_t rows, int64_t stretch,
                      int64_t panel, uint32_t *scratch);
/* B's columns column .. column+columns-1, one stretch of k, in panels padded to whole ones. */
void hone_gemm_pack_b(const hone_gemm_plan *g, uint32_t *out, int64_t column, int64_t columns, int64_t stretch,
                      uint32_t *scratch);

/* Where the tile finds A's panel, packed or in place. */
hone_gemm_rows hone_gemm_rows_of_a(const hone_gemm_plan *g, const uint32_t *shared, int64_t base, int64_t rows,
                                   int64_t stretch, int64_t panel);

#endif
