// A card with one context for a test, and short ways to run PTX on it.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <random>

#include "check.h"
#include "driver_api.h"

namespace standin::test {

// Fails with the driver's words unless the call returned 0.
void fine(int code);
// Fails unless the call returned this code.
void refused(int code, int want);
// ... and the driver's last fault holds the text.
void refused(int code, int want, std::string_view reason);

class TestCard {
 public:
  explicit TestCard(const char* settings = "");
  ~TestCard();
  TestCard(const TestCard&) = delete;
  TestCard& operator=(const TestCard&) = delete;

  u64 allocate(size_t bytes);
  template <class T>
  u64 upload(const std::vector<T>& values) {
    const u64 address = allocate(values.size() * sizeof(T));
    fine(cuMemcpyHtoD_v2(address, values.data(), values.size() * sizeof(T)));
    return address;
  }
  template <class T>
  std::vector<T> download(u64 address, size_t count) {
    std::vector<T> values(count);
    fine(cuMemcpyDtoH_v2(values.data(), address, count * sizeof(T)));
    return values;
  }

  // The kernel "test" of a file.
  void* load(const std::string& ptx);
  // Launches on the default stream; does not wait.
  int launch(void* function, std::array<unsigned, 3> grid, std::array<unsigned, 3> block,
             const std::vector<u64>& arguments, unsigned shared = 0);
  // Launches one block of `threads` and waits for it.
  int run(void* function, unsigned threads, const std::vector<u64>& arguments);

 private:
  void* context_ = nullptr;
};

// A file for sm_80 (or another target) whose kernel "test" has `parameters` u64 parameters p0, p1, ... and this body.
// Declared are %p<8> .pred, %h<16> .b16, %r<32> .b32, %rd<16> .b64, %f<16> .f32, %fd<8> .f64. `before` is text of the
// file before the kernel.
std::string kernel_of(const std::string& body, int parameters = 2, const std::string& before = "",
                      const std::string& target = "sm_80");

// The body of kernel_of() that runs `body` with %p0..%pn loaded: %rd1 = p0, %rd2 = p1, ... and %r0 = the thread.
std::string with_pointers(const std::string& body, int parameters = 2);

// One warp in which lane l has a[l] in %a, b[l] in %b, c[l] in %c (missing ones are 0); what the body leaves in %d.
// Registers have the widths of D and A; those of kernel_of() are there as well.
template <class D, class A>
std::vector<D> lanes(const std::string& body, const std::vector<A>& a, const std::vector<A>& b = {},
                     const std::vector<A>& c = {}, const std::string& target = "sm_80");

// 32 values that hold the edges of a type and random ones between them.
template <class T>
std::vector<T> edges(unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<T> values(kLanes);
  for (T& value : values) {
    const u64 bits = random();
    if constexpr (std::is_floating_point_v<T>) {
      const double fraction = static_cast<double>(bits >> 11) * 0x1p-53 - 0.5;
      value = static_cast<T>(fraction * std::exp2(static_cast<double>(bits % 40) - 20));
    } else {
      value = static_cast<T>(bits >> (bits % (8 * sizeof(T))));
    }
  }
  using Limits = std::numeric_limits<T>;
  std::vector<T> special = {T(0), T(1), Limits::max(), Limits::lowest(), static_cast<T>(Limits::max() / 2)};
  if constexpr (std::is_floating_point_v<T>) {
    special.insert(special.end(), {-T(0), Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), Limits::min(),
                                   Limits::denorm_min(), T(0.5), T(1.5), T(2.5), T(-2.5)});
  } else {
    special.push_back(static_cast<T>(-1));
  }
  std::copy(special.begin(), special.end(), values.begin());
  std::shuffle(values.begin(), values.end(), random);
  return values;
}

std::string lanes_kernel(const std::string& body, size_t result_bytes, size_t operand_bytes, const std::string& target);

template <class D, class A>
std::vector<D> lanes(const std::string& body, const std::vector<A>& a, const std::vector<A>& b,
                     const std::vector<A>& c, const std::string& target) {
  TestCard card(target == "sm_90" ? "cc=9.0" : "cc=8.0");
  void* function = card.load(lanes_kernel(body, sizeof(D), sizeof(A), target));
  std::vector<u64> arguments = {card.allocate(kLanes * sizeof(D))};
  for (std::vector<A> operand : {a, b, c}) {
    operand.resize(kLanes);
    arguments.push_back(card.upload(operand));
  }
  fine(card.run(function, kLanes, arguments));
  return card.download<D>(arguments[0], kLanes);
}

}  // namespace standin::test
