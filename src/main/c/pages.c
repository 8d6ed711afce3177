/*
 * Pages of a mapped file: read some before they are needed, let go of others. For weights that are larger than memory.
 *
 * Prefetch.  Asks the system to read the file's pages; returns before they are there. Linux and macOS: madvise WILLNEED;
 *            Windows: PrefetchVirtualMemory.
 * Release.   Takes the pages out of this process. Linux and macOS: madvise DONTNEED; Windows: VirtualUnlock of pages that are not
 *            locked, which takes them out of the working set and then reports ERROR_NOT_LOCKED. The bytes stay in the file and, as
 *            long as nobody else wants the memory, in the system's cache, from where the next touch maps them again.
 * Memory.    None. Both are advice: a system that does not take it runs slower or fuller, not wrong, so what it answers is not
 *            looked at. Elsewhere than on those systems both do nothing.
 * Shapes.    Any range of a mapping that nobody writes to; whole pages are meant, so the ends are rounded outwards. Private
 *            memory must never come here: Linux gives it back zeroed.
 * Mirrors.   HostPages.java - HostPagesTest
 */
#define _DEFAULT_SOURCE /* madvise */
#include "internal.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define _WIN32_WINNT 0x0602 /* PrefetchVirtualMemory: Windows 8 */
#include <windows.h>
#elif defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

static int32_t check(const char *op, const void *address, int64_t bytes) {
  HONE_REQUIRE(address && bytes > 0, "%s: %lld bytes at %p, want some", op, (long long)bytes, (void *)(uintptr_t)address);
  return HONE_OK;
}

#if defined(__unix__) || defined(__APPLE__)
static void advise(const void *address, int64_t bytes, int advice) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t first = (uintptr_t)address / page * page;
  uintptr_t end = ((uintptr_t)address + (uintptr_t)bytes + page - 1) / page * page;
  (void)madvise((void *)first, end - first, advice);
}
#endif

int32_t hone_pages_prefetch(const void *address, int64_t bytes) {
  HONE_TRY(check("pages_prefetch", address, bytes));
#if defined(_WIN32)
  WIN32_MEMORY_RANGE_ENTRY range = {(void *)(uintptr_t)address, (SIZE_T)bytes};
  (void)PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
#elif defined(__unix__) || defined(__APPLE__)
  advise(address, bytes, MADV_WILLNEED);
#endif
  return HONE_OK;
}

int32_t hone_pages_release(const void *address, int64_t bytes) {
  HONE_TRY(check("pages_release", address, bytes));
#if defined(_WIN32)
  (void)VirtualUnlock((void *)(uintptr_t)address, (SIZE_T)bytes);
#elif defined(__unix__) || defined(__APPLE__)
  advise(address, bytes, MADV_DONTNEED);
#endif
  return HONE_OK;
}
