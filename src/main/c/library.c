/* library.c - errors, argument checks, instruction sets, threads and per-thread scratch. */
#define _GNU_SOURCE /* syscall */
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* ---- errors -------------------------------------------------------------------------------------------------------- */

static _Thread_local char last_error[512];

int32_t hone_fail(int32_t status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(last_error, sizeof last_error, format, args);
  va_end(args);
  return status;
}

const char *hone_last_error(void) { return last_error; }
int32_t hone_abi_version(void) { return HONE_ABI_VERSION; }

const char *hone_dtype_name(int32_t dtype) {
  static const char *const names[] = {"f32", "bf16", "f16", "i32", "u8", "nf4", "f64", "i8"};
  return dtype >= 0 && dtype <= HONE_I8 ? names[dtype] : "unknown dtype";
}

static int shape_text(char *out, size_t size, const int64_t *shape, int32_t rank) {
  int at = snprintf(out, size, "[");
  for (int i = 0; i < rank && at < (int)size; i++) {
    at += shape[i] < 0 ? snprintf(out + at, size - at, i ? ",*" : "*")
                       : snprintf(out + at, size - at, i ? ",%lld" : "%lld", (long long)shape[i]);
  }
  return at < (int)size ? at + snprintf(out + at, size - at, "]") : at;
}

static int32_t check_quant(const char *op, const hone_tensor *t) {
  const hone_quant *q = t->quant;
  if (t->dtype == HONE_I8) {
    HONE_REQUIRE(q && q->absmax_f32 && q->block > 0, "%s: %s is i8 without its scales", op, t->name);
    return HONE_OK;
  }
  HONE_REQUIRE(q && q->code, "%s: %s is nf4 without its code book", op, t->name);
  HONE_REQUIRE(q->block > 0 && q->block % 2 == 0, "%s: %s has a quantisation block of %d, want a positive even number", op,
               t->name, q->block);
  HONE_REQUIRE(q->absmax_f32 || (q->absmax_u8 && q->nested_code && q->nested_absmax && q->nested_block > 0),
               "%s: %s is nf4 without its absmax", op, t->name);
  return HONE_OK;
}

int32_t hone_check(const char *op, const hone_tensor *t, uint32_t dtypes, int32_t rank, const int64_t *shape) {
  HONE_REQUIRE(t, "%s: a required tensor is null", op);
  bool shape_ok = t->rank == rank;
  bool empty = false;
  for (int i = 0; i < rank && shape_ok; i++) {
    shape_ok = t->shape[i] >= 0 && (shape[i] < 0 || shape[i] == t->shape[i]);
    empty |= t->shape[i] == 0;
  }
  bool dtype_ok = t->dtype >= 0 && t->dtype <= HONE_I8 && (dtypes & HONE_DTYPE_BIT(t->dtype));
  if (!shape_ok || !dtype_ok) {
    char got[96], want[96], kinds[64] = "";
    shape_text(got, sizeof got, t->shape, t->rank < 0 ? 0 : t->rank > 4 ? 4 : t->rank);
    shape_text(want, sizeof want, shape, rank);
    for (int d = 0, at = 0; d <= HONE_I8; d++) {
      if (dtypes & HONE_DTYPE_BIT(d)) at += snprintf(kinds + at, sizeof kinds - at, "%s%s", at ? "|" : "", hone_dtype_name(d));
    }
    return hone_fail(HONE_BAD_ARGUMENT, "%s: %s is %s %s, want %s %s", op, t->name, hone_dtype_name(t->dtype), got, kinds, want);
  }
  HONE_REQUIRE(t->data || empty, "%s: %s has no memory", op, t->name);
  return t->dtype == HONE_NF4 || t->dtype == HONE_I8 ? check_quant(op, t) : HONE_OK;
}

/* ---- instruction sets ---------------------------------------------------------------------------------------------- */

/* Matrix registers: the processor has them, and the system lends their 8 KiB of state to a process that asks. */
static bool has_amx(void) {
#if defined(__x86_64__) && defined(__linux__)
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* arch_prctl's ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
  const unsigned tile = 1u << 24, bf16 = 1u << 22;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tile) == 0 || (d & bf16) == 0) return false;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}

static int32_t detect_isa(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return has_amx() ? HONE_ISA_AMX : HONE_ISA_AVX512_BF16;
  if (avx512) return HONE_ISA_AVX512;
  if (avx2) return HONE_ISA_AVX2;
#endif
  return HONE_ISA_REFERENCE;
}

static int32_t best_isa = -1, chosen_isa = -1;

int32_t hone_best_isa(void) {
  if (best_isa < 0) best_isa = detect_isa();
  return best_isa;
}

int32_t hone_isa(void) {
  if (chosen_isa >= 0) return chosen_isa;
  chosen_isa = hone_best_isa();
#if defined(__x86_64__)
  if (chosen_isa == HONE_ISA_AVX512_BF16 && __builtin_cpu_is("intel")) chosen_isa = HONE_ISA_AVX512;
#endif
  return chosen_isa;
}

int32_t hone_set_isa(int32_t isa) {
  HONE_REQUIRE(isa >= HONE_ISA_REFERENCE && isa <= hone_best_isa(), "set_isa: %d is not within 0 .. %d of this machine", isa,
               hone_best_isa());
  chosen_isa = isa;
  return HONE_OK;
}

/* ---- threads and workspace ----------------------------------------------------------------------------------------- */

int32_t hone_threads(void) { return omp_get_max_threads(); }

int32_t hone_set_threads(int32_t threads) {
  HONE_REQUIRE(threads >= 1 && threads <= 1024, "set_threads: %d threads, want 1 .. 1024", threads);
  omp_set_num_threads(threads);
  return HONE_OK;
}

enum { WORKSPACE_SLOTS = 4 };
static _Thread_local struct {
  void *memory[WORKSPACE_SLOTS];
  size_t bytes[WORKSPACE_SLOTS];
} workspace;
static int64_t workspace_peak;

void *hone_workspace(int slot, size_t bytes) {
  if (workspace.bytes[slot] < bytes) {
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    void *fresh = aligned_alloc(64, rounded);
    if (!fresh) return NULL;
    free(workspace.memory[slot]);
    workspace.memory[slot] = fresh;
    workspace.bytes[slot] = rounded;
    int64_t total = 0;
    for (int i = 0; i < WORKSPACE_SLOTS; i++) total += (int64_t)workspace.bytes[i];
#pragma omp critical(hone_workspace_peak)
    if (total > workspace_peak) workspace_peak = total;
  }
  return workspace.memory[slot];
}

int64_t hone_thread_workspace_bytes(void) { return workspace_peak; }
