// Runs the tests whose name holds the argument (all without one); a line each. Exit status 1 when one fails.
#include <cstdio>

#include "check.h"

namespace standin::test {

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

}  // namespace standin::test

int main(int argc, char** argv) {
  const std::string wanted = argc > 1 ? argv[1] : "";
  int failures = 0;
  for (const standin::test::Test& test : standin::test::tests()) {
    if (test.name.find(wanted) == std::string::npos) continue;
    try {
      test.run();
      std::printf("ok %s\n", test.name.c_str());
    } catch (const std::exception& failure) {
      ++failures;
      std::printf("FAILED %s: %s\n", test.name.c_str(), failure.what());
    }
    std::fflush(stdout);
  }
  return failures == 0 ? 0 : 1;
}
