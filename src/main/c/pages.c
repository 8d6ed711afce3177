/*
 * Pages: those of a mapped file are read before they are needed and let go of, for weights that are larger than memory; and pages
 * of its own for a run's buffers.
 *
 * Prefetch.  Asks the system to read the file's pages; returns before they are there. Linux and macOS: madvise WILLNEED;
 *            Windows: PrefetchVirtualMemory.
 * Release.   Takes the pages out of this process. Linux and macOS: madvise DONTNEED; Windows: VirtualUnlock of pages that are not
 *            locked, which takes them out of the working set and then reports ERROR_NOT_LOCKED. The bytes stay in the file and, as
 *            long as nobody else wants the memory, in the system's cache, from where the next touch maps them again.
 * Allocate.  Zeroed pages that become memory when they are touched, large ones where the system has them: a gigabyte costs nothing
 *            at the start, and later 500 faults instead of 270,000. Linux: mmap, madvise HUGEPAGE (which transparent_hugepage
 *            "madvise" and "always" take); Windows: VirtualAlloc.
 * Memory.    None beside what is allocated. Prefetch and release are advice: a system that does not take it runs slower or fuller, not wrong, so what it answers is not
 *            looked at. Elsewhere than on those systems both do nothing, and allocation is calloc.
 * Shapes.    Any range of a mapping that nobody writes to; whole pages are meant, so the ends are rounded outwards. Private
 *            memory must never come here: Linux gives it back zeroed.
 * Mirrors.   HostPages.java - HostPagesTest
 */
#define _DEFAULT_SOURCE /* madvise */
#include "internal.h"

#include <stdlib.h>

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

void *hone_pages_allocate(int64_t bytes) {
  if (check("pages_allocate", "", bytes)) return NULL;
#if defined(_WIN32)
  void *pages = VirtualAlloc(NULL, (SIZE_T)bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
#elif defined(__unix__) || defined(__APPLE__)
  void *pages = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) pages = NULL;
#if defined(MADV_HUGEPAGE)
  if (pages) (void)madvise(pages, (size_t)bytes, MADV_HUGEPAGE);
#endif
#else
  void *pages = calloc((size_t)bytes, 1);
#endif
  if (!pages) hone_fail(HONE_OUT_OF_MEMORY, "pages_allocate: the system has no %lld bytes", (long long)bytes);
  return pages;
}

int32_t hone_pages_free(void *pages, int64_t bytes) {
  HONE_TRY(check("pages_free", pages, bytes));
#if defined(_WIN32)
  VirtualFree(pages, 0, MEM_RELEASE);
#elif defined(__unix__) || defined(__APPLE__)
  munmap(pages, (size_t)bytes);
#else
  free(pages);
#endif
  return HONE_OK;
}
