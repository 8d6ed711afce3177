#include "card.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "fault.h"

namespace standin {

int Card::max_shared() const {
  switch (compute_capability()) {
    case 70: return 96 * 1024;
    case 75: return 64 * 1024;
    case 80: case 87: return 163 * 1024;
    case 86: case 89: case 120: case 121: return 99 * 1024;
    case 90: case 100: case 103: return 227 * 1024;
    default: return 48 * 1024;
  }
}

int Card::ptx_version() const {
  // CUDA release (10 major + minor of driver / 10) and the PTX ISA that its driver reads.
  struct Row { int release, isa; };
  static constexpr Row rows[] = {{110, 70}, {111, 71}, {112, 72}, {113, 73}, {114, 74}, {115, 75}, {116, 76},
                                 {117, 77}, {118, 78}, {120, 80}, {121, 81}, {122, 82}, {123, 83}, {124, 84},
                                 {125, 85}, {126, 85}, {127, 86}, {128, 87}, {129, 88}, {130, 90}, {131, 91}};
  const int release = driver / 1000 * 10 + driver % 1000 / 10;
  int isa = 65;
  for (const Row& row : rows) {
    if (row.release <= release) isa = row.isa;
  }
  return isa;
}

int Card::host_threads() const {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(threads > 0 ? threads : cores, 1, 64);
}

Card& card() {
  static Card instance = [] {
    Card c;
    if (const char* settings = std::getenv("HONE_STANDIN")) configure(c, settings);
    return c;
  }();
  return instance;
}

void configure(Card& card, const std::string& settings) {
  Card next = card;
  std::istringstream words(settings);
  std::string word;
  while (words >> word) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    char* end = nullptr;
    const u64 number = std::strtoull(value.c_str(), &end, 10);
    const bool whole = !value.empty() && *end == '\0';
    if (key == "name") {
      std::string rest;
      std::getline(words, rest);
      next.name = value + rest;
    } else if (key == "cc" && !value.empty() && *end == '.') {
      next.major = static_cast<int>(number);
      next.minor = std::atoi(end + 1);
    } else if (key == "vram" && whole) {
      next.vram = number;
    } else if (key == "driver" && whole) {
      next.driver = static_cast<int>(number);
    } else if (key == "sms" && whole && number > 0) {
      next.multiprocessors = static_cast<int>(number);
    } else if (key == "threads" && whole) {
      next.threads = static_cast<int>(number);
    } else if (key == "poison" && whole) {
      next.poison = number != 0;
    } else if (key == "eager" && whole) {
      next.eager = number != 0;
    } else if (key == "traffic" && whole) {
      next.traffic = number != 0;
    } else if (key == "pinned" && whole) {
      next.pinned = number;
    } else if (key == "graph_node" && whole) {
      next.graph_node = number;
    } else if (key == "instructions" && whole && number > 0) {
      next.instruction_limit = number;
    } else {
      throw Fault(kInvalidValue, "'" + word + "' is no setting of the stand-in driver; known are cc=8.0 vram=BYTES "
                                 "driver=12000 sms=4 threads=2 poison=0|1 eager=0|1 traffic=0|1 pinned=BYTES graph_node=BYTES "
                                 "instructions=N name=TEXT");
    }
  }
  card = next;
}

}  // namespace standin
