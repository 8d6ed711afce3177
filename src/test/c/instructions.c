/*
 * Runs ops of libhone once warm, once measured, for InstructionsTest, which counts the instructions of each measured_*
 * function under callgrind. Valgrind's processor has AVX2 and nothing above it, so that the counts are of the same code
 * on every x86-64 machine; one thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hone.h"

/* Not multiples of a tile, 6 x 16. */
enum { TOKENS = 64, IN = 192, OUT = 150, RANK = 16, HEADS = 4, DIM = 48, BLOCK = 64 };

static void *memory(size_t bytes) {
  void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!p) exit(2);
  return p;
}

static hone_tensor tensor(const char *name, int32_t dtype, int64_t rows, int64_t columns) {
  const int64_t n = rows * columns;
  hone_tensor t = {.name = name, .shape = {rows, columns, 1, 1}, .dtype = dtype, .rank = 2};
  t.data = memory((size_t)n * 4);
  for (int64_t i = 0; i < n; i++) {
    const float value = (float)((i * 2654435761u) % 1000) / 1000 - 0.5f;
    union {
      float f;
      uint32_t u;
    } bits = {.f = value};
    if (dtype == HONE_BF16) {
      ((uint16_t *)t.data)[i] = (uint16_t)(bits.u >> 16);
    } else {
      ((float *)t.data)[i] = value;
    }
  }
  return t;
}

static hone_tensor nf4(const char *name, int64_t rows, int64_t columns) {
  static float code[16];
  static hone_quant quant = {.code = code, .block = BLOCK};
  for (int i = 0; i < 16; i++) code[i] = (float)i / 8 - 1;
  float *absmax = memory((size_t)(rows * columns / BLOCK) * sizeof(float));
  for (int64_t i = 0; i < rows * columns / BLOCK; i++) absmax[i] = 0.02f;
  quant.absmax_f32 = absmax;
  hone_tensor t = tensor(name, HONE_F32, rows, columns); /* any bytes are codes */
  t.dtype = HONE_NF4;
  t.quant = &quant;
  return t;
}

static hone_tensor heads(const char *name) {
  hone_tensor t = tensor(name, HONE_F32, TOKENS, HEADS * DIM);
  t.shape[1] = HEADS;
  t.shape[2] = DIM;
  t.rank = 3;
  return t;
}

static void require(int32_t status) {
  if (status == HONE_OK) return;
  fprintf(stderr, "%s\n", hone_last_error());
  exit(1);
}

static hone_tensor x, y, w, dw, x16, y16, w16, w4, a, b, da, db, u, e, q, k, v, o, dq, dk, dv, dout, lse, delta, docs;

static void forward_f32(void) { require(hone_linear_forward(&y, &x, &w, NULL, 0)); }
static void input_f32(void) { require(hone_linear_backward_input(&x, &y, &w, 0)); }
static void weight_f32(void) { require(hone_linear_backward_weight(&dw, NULL, &y, &x)); }
static void forward_bf16(void) { require(hone_linear_forward(&y16, &x16, &w16, NULL, 0)); }
static void input_bf16(void) { require(hone_linear_backward_input(&x16, &y16, &w16, 0)); }
static void forward_nf4(void) { require(hone_linear_forward(&y16, &x16, &w4, NULL, 0)); }
static void input_nf4(void) { require(hone_linear_backward_input(&x16, &y16, &w4, 0)); }
static void lora(void) {
  require(hone_lora_forward(&y, &u, &x, &a, &b, 2, 0, 1));
  require(hone_lora_backward(&x, &da, &db, &e, &y, &x, &u, &a, &b, 2, 0, 1));
}
static void attention(void) {
  require(hone_attention_forward(&o, &lse, &q, &k, &v, &docs, 0.125f, 0, 0));
  require(hone_attention_backward(&dq, &dk, &dv, &delta, &dout, &o, &lse, &q, &k, &v, &docs, 0.125f, 0, 0));
}

/* Never inlined, so that callgrind sees them enter and leave. */
#define MEASURED(op) \
  static __attribute__((noinline)) void measured_##op(void) { op(); }
MEASURED(forward_f32)
MEASURED(input_f32)
MEASURED(weight_f32)
MEASURED(forward_bf16)
MEASURED(input_bf16)
MEASURED(forward_nf4)
MEASURED(input_nf4)
MEASURED(lora)
MEASURED(attention)

/* First calls take memory and start threads: not what is measured. */
static void (*const warm[])(void) = {forward_f32, input_f32,   weight_f32, forward_bf16, input_bf16,
                                     forward_nf4, input_nf4, lora,       attention};

int main(void) {
  static int32_t document[] = {0, TOKENS};
  x = tensor("x", HONE_F32, TOKENS, IN), y = tensor("y", HONE_F32, TOKENS, OUT), w = tensor("w", HONE_F32, OUT, IN);
  x16 = tensor("x", HONE_BF16, TOKENS, IN), y16 = tensor("y", HONE_BF16, TOKENS, OUT);
  w16 = tensor("w", HONE_BF16, OUT, IN), w4 = nf4("w", OUT, IN), dw = tensor("dw", HONE_F32, OUT, IN);
  a = tensor("a", HONE_F32, RANK, IN), b = tensor("b", HONE_F32, OUT, RANK), da = a, db = b;
  u = tensor("u", HONE_F32, TOKENS, RANK), e = tensor("e", HONE_F32, TOKENS, RANK);
  q = heads("q"), k = heads("k"), v = heads("v"), o = heads("o"), dq = heads("dq"), dk = heads("dk"), dv = heads("dv");
  dout = heads("dout"), lse = tensor("lse", HONE_F32, HEADS, TOKENS), delta = tensor("delta", HONE_F32, HEADS, TOKENS);
  docs = (hone_tensor){.data = document, .name = "docs", .shape = {2, 1, 1, 1}, .dtype = HONE_I32, .rank = 1};
  require(hone_set_threads(1));
  require(hone_set_isa(HONE_ISA_AVX2));
  for (size_t i = 0; i < sizeof warm / sizeof *warm; i++) warm[i]();
  measured_forward_f32();
  measured_input_f32();
  measured_weight_f32();
  measured_forward_bf16();
  measured_input_bf16();
  measured_forward_nf4();
  measured_input_nf4();
  measured_lora();
  measured_attention();
  return 0;
}
