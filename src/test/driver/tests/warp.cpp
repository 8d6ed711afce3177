// Between lanes: shfl, vote, match, redux, elect and their member masks.
#include "card.h"

namespace standin::test {
namespace {

constexpr u32 kAllMembers = kAllLanes;

std::vector<u32> numbers() {
  std::vector<u32> all(kLanes);
  for (u32 i = 0; i < kLanes; ++i) all[i] = i;
  return all;
}
std::vector<u32> random_words(unsigned seed, u32 below) {
  std::mt19937 random(seed);
  std::vector<u32> all(kLanes);
  for (u32& v : all) v = random() % below;
  return all;
}

// shfl.sync of the PTX manual, in its words: the lane that l reads, and whether it is in range.
std::pair<int, bool> source_lane(const std::string& mode, int lane, u32 b, u32 c) {
  const int bval = static_cast<int>(b & 31), cval = static_cast<int>(c & 31), segmask = static_cast<int>(c >> 8 & 31);
  const int max_lane = (lane & segmask) | (cval & ~segmask), min_lane = lane & segmask;
  int j = lane;
  bool inside = false;
  if (mode == "up") j = lane - bval, inside = j >= max_lane;
  if (mode == "down") j = lane + bval, inside = j <= max_lane;
  if (mode == "bfly") j = lane ^ bval, inside = j <= max_lane;
  if (mode == "idx") j = min_lane | (bval & ~segmask), inside = j <= max_lane;
  return {inside ? j : lane, inside};
}

TEST(shfl_in_all_modes) {
  const std::vector<u32> value = random_words(1, 1u << 30), distance = random_words(2, 32);
  for (const std::string mode : {"up", "down", "bfly", "idx"}) {
    // Whole warps and segments of 8; up clamps at 0.
    for (const u32 segment : {0u, 0x18u}) {
      const u32 c = segment << 8 | (mode == "up" ? 0 : 31);
      const std::string text = "shfl.sync." + mode + ".b32 %r1|%p1, %a, %b, " + std::to_string(c) + ", -1;\n"
                               "selp.u32 %r2, 1, 0, %p1; xor.b32 %d, %r1, %r2;";
      std::vector<u32> want;
      for (int l = 0; l < kLanes; ++l) {
        const auto [from, inside] = source_lane(mode, l, distance[static_cast<size_t>(l)], c);
        want.push_back(value[static_cast<size_t>(from)] ^ (inside ? 1u : 0u));
      }
      equal(text, lanes<u32, u32>(text, value, distance), want);
    }
  }
}

TEST(shfl_among_some_lanes) {
  // The two halves of the warp take different paths and shuffle each by itself.
  const std::string body =
      "setp.lt.u32 %p1, %a, 16; @%p1 bra low;\n"
      "shfl.sync.bfly.b32 %d, %a, 1, 31, 0xffff0000; bra done;\n"
      "low: shfl.sync.bfly.b32 %d, %a, 2, 31, 0x0000ffff;\n"
      "done:";
  std::vector<u32> want;
  for (const u32 l : numbers()) want.push_back(l < 16 ? l ^ 2 : l ^ 1);
  equal("halves", lanes<u32, u32>(body, numbers()), want);
}

TEST(vote_forms) {
  std::vector<u32> bit = random_words(4, 2);
  u32 ballot = 0;
  for (size_t l = 0; l < bit.size(); ++l) ballot |= bit[l] << l;
  const std::string set = "setp.ne.u32 %p1, %a, 0; ";
  const auto all = [](u32 value) { return std::vector<u32>(kLanes, value); };
  equal("ballot", lanes<u32, u32>(set + "vote.sync.ballot.b32 %d, %p1, -1;", bit), all(ballot));
  equal("ballot of !p", lanes<u32, u32>(set + "vote.sync.ballot.b32 %d, !%p1, -1;", bit), all(~ballot));
  // any, all and uni of a mixed predicate, of one that all hold, and of one that none does.
  for (const auto& [values, any, every, uniform] :
       {std::tuple{bit, 1u, 0u, 0u}, std::tuple{all(1), 1u, 1u, 1u}, std::tuple{all(0), 0u, 0u, 1u}}) {
    const std::string out = " selp.u32 %d, 1, 0, %p2;";
    equal("any", lanes<u32, u32>(set + "vote.sync.any.pred %p2, %p1, -1;" + out, values), all(any));
    equal("all", lanes<u32, u32>(set + "vote.sync.all.pred %p2, %p1, -1;" + out, values), all(every));
    equal("uni", lanes<u32, u32>(set + "vote.sync.uni.pred %p2, %p1, -1;" + out, values), all(uniform));
  }
}

TEST(vote_among_some_lanes) {
  const std::string body =
      "setp.lt.u32 %p1, %a, 5; mov.u32 %d, 0; and.b32 %r1, %a, 1; setp.eq.u32 %p2, %r1, 0; @!%p1 bra done;\n"
      "vote.sync.ballot.b32 %d, %p2, 0x1f; activemask.b32 %r2; shl.b32 %r2, %r2, 8; or.b32 %d, %d, %r2;\n"
      "done:";
  std::vector<u32> want(kLanes, 0);
  std::fill_n(want.begin(), 5, 0x15u | 0x1fu << 8);
  equal("ballot of five", lanes<u32, u32>(body, numbers()), want);
}

template <class T>
void matches(const std::string& bits) {
  std::vector<T> value;
  for (const u32 v : random_words(9, 4)) value.push_back(static_cast<T>(v) << (8 * sizeof(T) - 3));
  std::vector<u32> want;
  for (const T v : value) {
    u32 mask = 0;
    for (size_t k = 0; k < value.size(); ++k) mask |= static_cast<u32>(value[k] == v) << k;
    want.push_back(mask);
  }
  equal("any", lanes<u32, T>("match.any.sync.b" + bits + " %d, %a, -1;", value), want);
  const std::string all = "match.all.sync.b" + bits + " %r1|%p1, %a, -1;\n"
                          "selp.u32 %r2, 1, 0, %p1; xor.b32 %d, %r1, %r2;";
  equal("all, not", lanes<u32, T>(all, value), std::vector<u32>(kLanes, 0));
  equal("all", lanes<u32, T>(all, std::vector<T>(kLanes, T(5))), std::vector<u32>(kLanes, kAllMembers ^ 1));
}
TEST(match_of_32_bits) { matches<u32>("32"); }
TEST(match_of_64_bits) { matches<u64>("64"); }

TEST(redux_forms) {
  const std::vector<u32> value = edges<u32>(6);
  const auto fold = [&](auto f) {
    u32 result = value[0];
    for (size_t i = 1; i < value.size(); ++i) result = f(result, value[i]);
    return std::vector<u32>(kLanes, result);
  };
  const auto redux = [&](const std::string& op) { return lanes<u32, u32>("redux.sync." + op + " %d, %a, -1;", value); };
  equal("add", redux("add.u32"), fold([](u32 a, u32 b) { return a + b; }));
  equal("add.s32", redux("add.s32"), fold([](u32 a, u32 b) { return a + b; }));
  equal("and", redux("and.b32"), fold([](u32 a, u32 b) { return a & b; }));
  equal("or", redux("or.b32"), fold([](u32 a, u32 b) { return a | b; }));
  equal("xor", redux("xor.b32"), fold([](u32 a, u32 b) { return a ^ b; }));
  equal("min.u32", redux("min.u32"), fold([](u32 a, u32 b) { return std::min(a, b); }));
  equal("max.u32", redux("max.u32"), fold([](u32 a, u32 b) { return std::max(a, b); }));
  const auto number = [](u32 a) { return static_cast<s32>(a); };
  equal("min.s32", redux("min.s32"), fold([&](u32 a, u32 b) { return number(a) < number(b) ? a : b; }));
  equal("max.s32", redux("max.s32"), fold([&](u32 a, u32 b) { return number(a) > number(b) ? a : b; }));
}

TEST(elect_names_one_lane) {
  const std::string body =
      "setp.ge.u32 %p1, %a, 3; mov.u32 %d, 99; @!%p1 bra done;\n"
      "elect.sync %r1|%p2, 0xfffffff8; selp.u32 %r2, 100, 0, %p2; add.u32 %d, %r1, %r2;\n"
      "done:";
  std::vector<u32> want(kLanes, 3);
  std::fill_n(want.begin(), 3, 99u);
  want[3] = 103;
  equal("elect", lanes<u32, u32>(body, numbers(), {}, {}, "sm_90"), want);
}

int code_of(const std::string& body) {
  TestCard card;
  return card.run(card.load(kernel_of("mov.u32 %r0, %tid.x;\n" + body, 0)), kLanes, {});
}

TEST(members_must_come) {
  const std::string leave = "setp.ge.u32 %p1, %r0, 16; @%p1 bra out;\n";
  refused(code_of(leave + "shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffff; out: bar.warp.sync -1;"), 0);
  refused(code_of(leave + "shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1; out: bar.sync 0;"), 715, "divergent");
  refused(code_of("setp.ge.u32 %p1, %r0, 16; @%p1 vote.sync.any.pred %p2, %p1, -1;"), 715, "their guard is false");
  refused(code_of("shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffff;"), 715, "does not name the lane itself");
  refused(code_of(leave + "shfl.sync.idx.b32 %r1, %r0, 20, 31, 0xffff; out:"), 715,
          "reads a lane that its member mask does not name");
}

TEST(lanes_that_left_are_not_waited_for) {
  refused(code_of("setp.ge.u32 %p1, %r0, 16; @%p1 exit; vote.sync.any.pred %p2, %p1, -1;"), 0);
}

}  // namespace
}  // namespace standin::test
