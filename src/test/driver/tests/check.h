// A test is a function with a name; a check that does not hold throws what it saw.
#pragma once

#include <cmath>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "types.h"

namespace standin::test {

struct Test {
  std::string name;
  std::function<void()> run;
};

// Every test of the program, in the order of registration.
std::vector<Test>& tests();

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

#define TEST(name)                                          \
  void name();                                              \
  const Registration registration_of_##name{#name, name};   \
  void name()

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class T>
std::string text_of(const T& value) {
  std::ostringstream out;
  out.precision(9);
  if constexpr (std::is_same_v<T, s8> || std::is_same_v<T, u8>) out << static_cast<int>(value);
  else out << value;
  if constexpr (std::is_integral_v<T>) {
    out << " (0x" << std::hex << static_cast<u64>(static_cast<std::make_unsigned_t<T>>(value)) << ")";
  }
  return out.str();
}

inline void hold(bool condition, const std::string& what) {
  if (!condition) throw Failure(what);
}

// Floats are the same when their bits are, or when both are NaN.
template <class T>
bool same(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return std::memcmp(&a, &b, sizeof(T)) == 0 || (a != a && b != b);
  else return a == b;
}

template <class T>
void equal(const std::string& what, const T& got, const T& want) {
  if constexpr (std::is_arithmetic_v<T>) {
    hold(same(got, want), what + ": got " + text_of(got) + ", want " + text_of(want));
  } else {
    hold(got == want, what + ": got '" + got + "', want '" + want + "'");
  }
}

template <class T>
void equal(const std::string& what, const std::vector<T>& got, const std::vector<T>& want) {
  equal(what + ", size", got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) equal(what + " [" + std::to_string(i) + "]", got[i], want[i]);
}

// Within a relative error, or an absolute one near zero.
template <class T>
void near(const std::string& what, T got, T want, double relative, double absolute) {
  const double error = std::fabs(static_cast<double>(got) - static_cast<double>(want));
  const bool fine = same(got, want) || error <= absolute + relative * std::fabs(static_cast<double>(want));
  hold(fine, what + ": got " + text_of(got) + ", want " + text_of(want));
}

inline void contains(const std::string& what, const std::string& text, std::string_view part) {
  hold(text.find(part) != std::string::npos, what + ": '" + text + "' does not hold '" + std::string(part) + "'");
}

}  // namespace standin::test
