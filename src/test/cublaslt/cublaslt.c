/*
 * A cuBLASLt for machines without a card: the functions that Hone calls, computing on the host.
 *
 * It is what the documentation of cublasLt.h says of D = alpha op(A) op(B) + beta C by columns, in plain loops with f32
 * sums, and strict where the library is lenient: every descriptor must be one that it made, attributes must have their
 * size, dimensions must fit each other, the algorithm must be the one that the heuristic gave for these very
 * descriptors. What it refuses gets CUBLAS_STATUS_INVALID_VALUE and a line in fake_cublaslt_refusal().
 *
 * Addresses are the host's own until fake_cublaslt_use_driver() names the copies and the wait of a driver, by which
 * matrices then come and go. fake_cublaslt_live() counts the objects that were made and not destroyed,
 * fake_cublaslt_offer(0) makes the heuristic find nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { COMPUTE_32F = 68, R_32F = 0, R_16F = 2, R_16BF = 14, OP_N = 0, OP_T = 1 };
enum { TRANSA = 3, TRANSB = 4, MAX_WORKSPACE = 1 };
enum { HANDLE = 0x48, OPERATION = 0x4f, LAYOUT = 0x4c, PREFERENCE = 0x50 };

typedef struct {
  int kind;
} Handle;

typedef struct {
  int kind;
  int32_t transposed_a, transposed_b;
} Operation;

typedef struct {
  int kind;
  int type;
  uint64_t rows, columns;
  int64_t ld;
} Layout;

typedef struct {
  int kind;
  uint64_t workspace;
} Preference;

typedef struct {
  uint64_t word[8];
} Algorithm;

typedef struct {
  Algorithm algorithm;
  uint64_t workspace;
  int state;
  float waves;
  int reserved[4];
} HeuristicResult;
_Static_assert(sizeof(HeuristicResult) == 96, "cublasLtMatmulHeuristicResult_t has 96 bytes");

static int live, offers = 1;
static char refusal[256];

/* cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2 and cuStreamSynchronize; without a driver there is nothing to wait for. */
static int host_copy_out(void *host, uint64_t device, size_t bytes, void *stream) {
  (void)stream;
  memcpy(host, (const void *)(uintptr_t)device, bytes);
  return SUCCESS;
}

static int host_copy_in(uint64_t device, const void *host, size_t bytes, void *stream) {
  (void)stream;
  memcpy((void *)(uintptr_t)device, host, bytes);
  return SUCCESS;
}

static int host_wait(void *stream) {
  (void)stream;
  return SUCCESS;
}

static int (*copy_out)(void *, uint64_t, size_t, void *) = host_copy_out;
static int (*copy_in)(uint64_t, const void *, size_t, void *) = host_copy_in;
static int (*wait_for)(void *) = host_wait;

static int refuse(const char *what) {
  snprintf(refusal, sizeof refusal, "%s", what);
  return INVALID_VALUE;
}

EXPORT int fake_cublaslt_live(void) { return live; }
EXPORT void fake_cublaslt_offer(int yes) { offers = yes; }
EXPORT void fake_cublaslt_use_driver(int (*out)(void *, uint64_t, size_t, void *),
                                     int (*in)(uint64_t, const void *, size_t, void *), int (*wait)(void *)) {
  copy_out = out ? out : host_copy_out;
  copy_in = in ? in : host_copy_in;
  wait_for = wait ? wait : host_wait;
}
EXPORT const char *fake_cublaslt_refusal(void) { return refusal; }

EXPORT size_t cublasLtGetVersion(void) { return 130100; }

static int make(void **out, size_t bytes, int kind) {
  if (!out) return refuse("no place for the result");
  int *object = calloc(1, bytes);
  if (!object) return 3;
  *object = kind;
  *out = object;
  live++;
  return SUCCESS;
}

static int destroy(void *object, int kind) {
  if (!object || *(int *)object != kind) return refuse("destroys what is not of its kind");
  *(int *)object = 0;
  free(object);
  live--;
  return SUCCESS;
}

EXPORT int cublasLtCreate(void **out) { return make(out, sizeof(Handle), HANDLE); }
EXPORT int cublasLtDestroy(void *handle) { return destroy(handle, HANDLE); }

EXPORT int cublasLtMatmulDescCreate(void **out, int compute, int scale) {
  if (compute != COMPUTE_32F || scale != R_32F) return refuse("sums and factors must be f32");
  return make(out, sizeof(Operation), OPERATION);
}

EXPORT int cublasLtMatmulDescDestroy(void *operation) { return destroy(operation, OPERATION); }

EXPORT int cublasLtMatmulDescSetAttribute(void *object, int what, const void *value, size_t bytes) {
  Operation *o = object;
  if (!o || o->kind != OPERATION) return refuse("attribute of no operation");
  if (bytes != sizeof(int32_t)) return refuse("a transposition has four bytes");
  int32_t *to = what == TRANSA ? &o->transposed_a : what == TRANSB ? &o->transposed_b : NULL;
  if (!to) return refuse("unknown attribute of an operation");
  memcpy(to, value, bytes);
  return *to == OP_N || *to == OP_T ? SUCCESS : refuse("unknown transposition");
}

EXPORT int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  if (type != R_16F && type != R_16BF) return refuse("matrices must be f16 or bf16");
  if (rows == 0 || columns == 0 || ld < (int64_t)rows) return refuse("a leading dimension below the rows");
  int status = make(out, sizeof(Layout), LAYOUT);
  if (status == SUCCESS) *(Layout *)*out = (Layout){LAYOUT, type, rows, columns, ld};
  return status;
}

EXPORT int cublasLtMatrixLayoutDestroy(void *layout) { return destroy(layout, LAYOUT); }

EXPORT int cublasLtMatmulPreferenceCreate(void **out) { return make(out, sizeof(Preference), PREFERENCE); }
EXPORT int cublasLtMatmulPreferenceDestroy(void *preference) { return destroy(preference, PREFERENCE); }

EXPORT int cublasLtMatmulPreferenceSetAttribute(void *object, int what, const void *value, size_t bytes) {
  Preference *p = object;
  if (!p || p->kind != PREFERENCE) return refuse("attribute of no preference");
  if (what != MAX_WORKSPACE || bytes != sizeof(uint64_t)) return refuse("unknown attribute of a preference");
  memcpy(&p->workspace, value, bytes);
  return SUCCESS;
}

/* D (m,n) = op(A) (m,k) op(B) (k,n); 0 when the three fit each other. */
static int check(const Operation *o, const Layout *a, const Layout *b, const Layout *c, const Layout *d) {
  if (!o || o->kind != OPERATION) return refuse("no operation");
  if (!a || !b || !c || !d || a->kind != LAYOUT || b->kind != LAYOUT || c->kind != LAYOUT || d->kind != LAYOUT) {
    return refuse("no layout");
  }
  uint64_t m = o->transposed_a ? a->columns : a->rows, ka = o->transposed_a ? a->rows : a->columns;
  uint64_t n = o->transposed_b ? b->rows : b->columns, kb = o->transposed_b ? b->columns : b->rows;
  if (ka != kb || d->rows != m || d->columns != n) return refuse("dimensions that do not fit");
  if (c->rows != d->rows || c->columns != d->columns) return refuse("C and D of different shapes");
  if (a->type != b->type || a->type != d->type || c->type != d->type) return refuse("types that differ");
  return SUCCESS;
}

/* The algorithm names the descriptors that it is for. */
static Algorithm algorithm_for(const Operation *o, const Layout *a, const Layout *b, const Layout *d) {
  return (Algorithm){{(uintptr_t)o, (uintptr_t)a, (uintptr_t)b, (uintptr_t)d, 1, 2, 3, 4}};
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, const Operation *o, const Layout *a, const Layout *b,
                                          const Layout *c, const Layout *d, const Preference *preference, int wanted,
                                          HeuristicResult *results, int *found) {
  if (!handle || *(int *)handle != HANDLE) return refuse("no handle");
  if (!preference || preference->kind != PREFERENCE) return refuse("no preference");
  if (wanted < 1 || !results || !found) return refuse("nowhere to put an algorithm");
  int status = check(o, a, b, c, d);
  if (status != SUCCESS) return status;
  *found = offers;
  if (!offers) return NOT_SUPPORTED;
  results[0] = (HeuristicResult){.algorithm = algorithm_for(o, a, b, d), .workspace = preference->workspace};
  return SUCCESS;
}

static float value(const uint16_t *matrix, int type, int64_t at) {
  if (type == R_16F) {
    _Float16 half;
    memcpy(&half, matrix + at, sizeof half);
    return (float)half;
  }
  uint32_t bits = (uint32_t)matrix[at] << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* Rounded to nearest even; the tests give no NaN. */
static void put(uint16_t *matrix, int type, int64_t at, float f) {
  if (type == R_16F) {
    _Float16 half = (_Float16)f;
    memcpy(matrix + at, &half, sizeof half);
    return;
  }
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  matrix[at] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* A matrix as it lies on the card, gaps between columns included; NULL when it cannot be read. */
static uint16_t *fetch(uint64_t address, const Layout *layout, void *stream) {
  size_t bytes = ((layout->columns - 1) * (uint64_t)layout->ld + layout->rows) * sizeof(uint16_t);
  uint16_t *host = malloc(bytes);
  if (host && (copy_out(host, address, bytes, stream) != SUCCESS || wait_for(stream) != SUCCESS)) {
    free(host);
    return NULL;
  }
  return host;
}

/* D = alpha op(A) op(B) + beta C, of which C is D's old content when the two have one address. */
static void multiply(const Operation *o, float alpha, const uint16_t *a, const Layout *la, const uint16_t *b,
                     const Layout *lb, float beta, uint16_t *d, const Layout *ld) {
  int64_t inner = (int64_t)(o->transposed_a ? la->rows : la->columns);
  for (int64_t n = 0; n < (int64_t)ld->columns; n++) {
    for (int64_t m = 0; m < (int64_t)ld->rows; m++) {
      float sum = 0;
      for (int64_t k = 0; k < inner; k++) {
        float x = value(a, la->type, o->transposed_a ? m * la->ld + k : k * la->ld + m);
        float y = value(b, lb->type, o->transposed_b ? k * lb->ld + n : n * lb->ld + k);
        sum += x * y;
      }
      int64_t at = n * ld->ld + m;
      put(d, ld->type, at, alpha * sum + (beta != 0 ? beta * value(d, ld->type, at) : 0));
    }
  }
}

EXPORT int cublasLtMatmul(void *handle, const Operation *o, const float *alpha, uint64_t a, const Layout *la,
                          uint64_t b, const Layout *lb, const float *beta, uint64_t c, const Layout *lc, uint64_t d,
                          const Layout *ld, const Algorithm *algorithm, uint64_t workspace, size_t bytes,
                          void *stream) {
  if (!handle || *(int *)handle != HANDLE) return refuse("no handle");
  int status = check(o, la, lb, lc, ld);
  if (status != SUCCESS) return status;
  Algorithm wanted = algorithm_for(o, la, lb, ld);
  if (!algorithm || memcmp(algorithm, &wanted, sizeof wanted) != 0) return refuse("an algorithm for other descriptors");
  if (bytes > 0 && !workspace) return refuse("no workspace");
  if (c != d || lc != ld) return refuse("C that is not D");
  uint16_t *ha = fetch(a, la, stream), *hb = fetch(b, lb, stream), *hd = fetch(d, ld, stream);
  status = ha && hb && hd ? SUCCESS : EXECUTION_FAILED;
  if (status == SUCCESS) multiply(o, *alpha, ha, la, hb, lb, *beta, hd, ld);
  for (uint64_t n = 0; status == SUCCESS && n < ld->columns; n++) {
    uint64_t first = n * (uint64_t)ld->ld;
    status = copy_in(d + first * sizeof(uint16_t), hd + first, ld->rows * sizeof(uint16_t), stream);
  }
  /* The host's memory must last until the copies are done. */
  if (wait_for(stream) != SUCCESS) status = EXECUTION_FAILED;
  free(ha);
  free(hb);
  free(hd);
  return status;
}
