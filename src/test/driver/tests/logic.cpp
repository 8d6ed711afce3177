// Bits: logic, shifts, permutations, fields and counts; comparisons and selections; packing and addresses.
#include "card.h"

namespace standin::test {
namespace {

template <class D, class A, class F>
void against(const std::string& text, F want) {
  const std::vector<A> a = edges<A>(1), b = edges<A>(2), c = edges<A>(3);
  std::vector<D> expected;
  for (size_t i = 0; i < a.size(); ++i) expected.push_back(static_cast<D>(want(a[i], b[i], c[i])));
  equal(text, lanes<D, A>(text, a, b, c), expected);
}

template <class T>
void words(const std::string& bits) {
  against<T, T>("and.b" + bits + " %d, %a, %b;", [](T a, T b, T) { return a & b; });
  against<T, T>("or.b" + bits + " %d, %a, %b;", [](T a, T b, T) { return a | b; });
  against<T, T>("xor.b" + bits + " %d, %a, %b;", [](T a, T b, T) { return a ^ b; });
  against<T, T>("not.b" + bits + " %d, %a;", [](T a, T, T) { return ~a; });
}
TEST(logic_of_words) {
  words<u16>("16");
  words<u32>("32");
  words<u64>("64");
}

TEST(logic_of_predicates) {
  const std::string set = "setp.lt.u32 %p1, %a, %b; setp.lt.u32 %p2, %b, %c; ";
  const std::string get = " %p3, %p1, %p2; selp.u32 %d, 1, 0, %p3;";
  against<u32, u32>(set + "and.pred" + get, [](u32 a, u32 b, u32 c) { return a < b && b < c; });
  against<u32, u32>(set + "or.pred" + get, [](u32 a, u32 b, u32 c) { return a < b || b < c; });
  against<u32, u32>(set + "xor.pred" + get, [](u32 a, u32 b, u32 c) { return (a < b) != (b < c); });
  against<u32, u32>(set + "not.pred %p3, %p1; mov.pred %p4, %p3; selp.u32 %d, 1, 0, %p4;",
                    [](u32 a, u32 b, u32) { return a >= b; });
}

template <class T>
void shifts(const std::string& bits) {
  using S = std::make_signed_t<T>;
  constexpr u32 width = 8 * sizeof(T);
  // Counts from 0 to beyond the width, where a shift gives 0 or the sign.
  const std::string count = sizeof(T) == 8 ? "cvt.u32.u64 %r1, %b; " : sizeof(T) == 2 ? "cvt.u32.u16 %r1, %b; "
                                                                                    : "mov.u32 %r1, %b; ";
  const std::string limit = "rem.u32 %r1, %r1, 80; ";
  const auto n = [](T b) { return static_cast<u32>(b) % 80; };
  against<T, T>(count + limit + "shl.b" + bits + " %d, %a, %r1;",
                [&](T a, T b, T) { return n(b) >= width ? 0 : static_cast<u64>(a) << n(b); });
  against<T, T>(count + limit + "shr.u" + bits + " %d, %a, %r1;",
                [&](T a, T b, T) { return n(b) >= width ? 0 : static_cast<u64>(a) >> n(b); });
  against<T, T>(count + limit + "shr.s" + bits + " %d, %a, %r1;", [&](T a, T b, T) {
    return static_cast<s64>(static_cast<S>(a)) >> std::min(n(b), width - 1);
  });
}
TEST(shifts_clamp) {
  shifts<u16>("16");
  shifts<u32>("32");
  shifts<u64>("64");
}

TEST(funnel_shifts) {
  const auto both = [](u32 a, u32 b) { return static_cast<u64>(b) << 32 | a; };
  against<u32, u32>("shf.l.wrap.b32 %d, %a, %b, %c;",
                    [&](u32 a, u32 b, u32 c) { return both(a, b) << (c & 31) >> 32; });
  against<u32, u32>("shf.r.wrap.b32 %d, %a, %b, %c;", [&](u32 a, u32 b, u32 c) { return both(a, b) >> (c & 31); });
  against<u32, u32>("shf.l.clamp.b32 %d, %a, %b, %c;",
                    [&](u32 a, u32 b, u32 c) { return both(a, b) << std::min(c, 32u) >> 32; });
  against<u32, u32>("shf.r.clamp.b32 %d, %a, %b, %c;",
                    [&](u32 a, u32 b, u32 c) { return both(a, b) >> std::min(c, 32u); });
}

TEST(lop3_tables) {
  for (const u32 table : {0x80u, 0xfeu, 0x96u, 0xe8u, 0x1bu, 0x6au}) {
    against<u32, u32>("lop3.b32 %d, %a, %b, %c, " + std::to_string(table) + ";", [&](u32 a, u32 b, u32 c) {
      u32 result = 0;
      for (int i = 0; i < 32; ++i) {
        const u32 row = (a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1);
        result |= (table >> row & 1) << i;
      }
      return result;
    });
  }
}

TEST(prmt_selects_bytes) {
  against<u32, u32>("prmt.b32 %d, %a, %b, %c;", [](u32 a, u32 b, u32 c) {
    u32 result = 0;
    for (int i = 0; i < 4; ++i) {
      const u32 select = c >> (4 * i) & 15, byte = (select & 4 ? b : a) >> (8 * (select & 3)) & 255;
      result |= (select & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
    }
    return result;
  });
}

template <class T>
T field(T a, u32 position, u32 length) {
  constexpr u32 width = 8 * sizeof(T);
  using U = std::make_unsigned_t<T>;
  U result = 0;
  const u32 top = std::min(position + length - 1, width - 1);
  const U sign = std::is_unsigned_v<T> || length == 0 ? 0 : static_cast<U>(static_cast<U>(a) >> top & 1);
  for (u32 i = 0; i < width; ++i) {
    const U bit = i < length && position + i < width ? static_cast<U>(a) >> (position + i) & 1 : sign;
    result |= static_cast<U>(bit << i);
  }
  return static_cast<T>(result);
}

TEST(bit_fields) {
  const std::string narrow = "rem.u32 %r1, %b, 40; rem.u32 %r2, %c, 40; ";
  const auto extract = []<class T>(T) {
    return [](u32 a, u32 b, u32 c) { return field(static_cast<T>(a), b % 40, c % 40); };
  };
  against<u32, u32>(narrow + "bfe.u32 %d, %a, %r1, %r2;", extract(u32()));
  against<u32, u32>(narrow + "bfe.s32 %d, %a, %r1, %r2;", extract(s32()));
  const std::string wide = "cvt.u32.u64 %r1, %b; rem.u32 %r1, %r1, 70; cvt.u32.u64 %r2, %c; rem.u32 %r2, %r2, 70; ";
  const auto n = [](u64 v) { return static_cast<u32>(v) % 70; };
  against<u64, u64>(wide + "bfe.u64 %d, %a, %r1, %r2;", [&](u64 a, u64 b, u64 c) { return field(a, n(b), n(c)); });
  against<u64, u64>(wide + "bfe.s64 %d, %a, %r1, %r2;",
                    [&](u64 a, u64 b, u64 c) { return field(static_cast<s64>(a), n(b), n(c)); });
  against<u32, u32>(narrow + "bfi.b32 %d, %a, %b, %r1, %r2;", [](u32 a, u32 b, u32 c) {
    u32 result = b;
    for (u32 i = 0; i < c % 40 && b % 40 + i < 32; ++i) {
      const u32 at = 1u << (b % 40 + i);
      result = a >> i & 1 ? result | at : result & ~at;
    }
    return result;
  });
}

TEST(bit_counts) {
  against<u32, u32>("popc.b32 %d, %a;", [](u32 a, u32, u32) { return std::popcount(a); });
  against<u32, u64>("popc.b64 %d, %a;", [](u64 a, u64, u64) { return std::popcount(a); });
  against<u32, u32>("clz.b32 %d, %a;", [](u32 a, u32, u32) { return std::countl_zero(a); });
  against<u32, u64>("clz.b64 %d, %a;", [](u64 a, u64, u64) { return std::countl_zero(a); });
  against<u32, u32>("brev.b32 %d, %a; brev.b32 %d, %d; brev.b32 %r1, %a; shr.u32 %r1, %r1, 31; xor.b32 %d, %d, %r1;",
                    [](u32 a, u32, u32) { return a ^ (a & 1); });
  const auto highest = [](auto a) { return a == 0 ? ~0u : static_cast<u32>(std::bit_width(a)) - 1; };
  against<u32, u32>("bfind.u32 %d, %a;", [&](u32 a, u32, u32) { return highest(a); });
  against<u32, s32>("bfind.s32 %d, %a;", [&](s32 a, s32, s32) { return highest(static_cast<u32>(a < 0 ? ~a : a)); });
  against<u32, u64>("bfind.u64 %d, %a;", [&](u64 a, u64, u64) { return highest(a); });
}

template <class T>
void comparisons(const std::string& type) {
  const std::string get = " %p1, %a, %b; selp.u32 %d, 1, 0, %p1;";
  against<u32, T>("setp.eq." + type + get, [](T a, T b, T) { return a == b; });
  against<u32, T>("setp.lt." + type + get, [](T a, T b, T) { return a < b; });
  against<u32, T>("setp.le." + type + get, [](T a, T b, T) { return a <= b; });
  against<u32, T>("setp.gt." + type + get, [](T a, T b, T) { return a > b; });
  against<u32, T>("setp.ge." + type + get, [](T a, T b, T) { return a >= b; });
  const auto nan = [](T a, T b) { return a != a || b != b; };
  against<u32, T>("setp.ne." + type + get, [&](T a, T b, T) { return a != b && !nan(a, b); });
  if constexpr (std::is_floating_point_v<T>) {
    against<u32, T>("setp.equ." + type + get, [&](T a, T b, T) { return a == b || nan(a, b); });
    against<u32, T>("setp.neu." + type + get, [](T a, T b, T) { return a != b; });
    against<u32, T>("setp.ltu." + type + get, [](T a, T b, T) { return !(a >= b); });
    against<u32, T>("setp.leu." + type + get, [](T a, T b, T) { return !(a > b); });
    against<u32, T>("setp.gtu." + type + get, [](T a, T b, T) { return !(a <= b); });
    against<u32, T>("setp.geu." + type + get, [](T a, T b, T) { return !(a < b); });
    against<u32, T>("setp.num." + type + get, [&](T a, T b, T) { return !nan(a, b); });
    against<u32, T>("setp.nan." + type + get, [&](T a, T b, T) { return nan(a, b); });
  }
}
TEST(setp_of_integers) {
  comparisons<u16>("u16");
  comparisons<s16>("s16");
  comparisons<u32>("u32");
  comparisons<s32>("s32");
  comparisons<u64>("u64");
  comparisons<s64>("s64");
}
TEST(setp_of_floats) {
  comparisons<float>("f32");
  comparisons<double>("f64");
}

TEST(setp_of_two_predicates) {
  for (const std::string op : {"and", "or", "xor"}) {
    const auto join = [&](bool x, bool c) { return op == "and" ? x && c : op == "or" ? x || c : x != c; };
    const std::string text = "setp.gt.u32 %p3, %c, 1000; setp.lt." + op + ".u32 %p1|%p2, %a, %b, !%p3;\n"
                             "selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; or.b32 %d, %r1, %r2;";
    against<u32, u32>(text, [&](u32 a, u32 b, u32 c) {
      return (join(a < b, c <= 1000) ? 1 : 0) | (join(a >= b, c <= 1000) ? 2 : 0);
    });
  }
}

TEST(set_selp_slct_testp) {
  against<u32, u32>("set.lt.u32.u32 %d, %a, %b;", [](u32 a, u32 b, u32) { return a < b ? ~0u : 0; });
  against<float, float>("set.ge.f32.f32 %d, %a, %b;", [](float a, float b, float) { return a >= b ? 1.f : 0.f; });
  against<u32, u32>("slct.b32.s32 %d, %a, %b, %c;",
                    [](u32 a, u32 b, u32 c) { return static_cast<s32>(c) >= 0 ? a : b; });
  against<float, float>("slct.f32.f32 %d, %a, %b, %c;", [](float a, float b, float c) { return c >= 0 ? a : b; });
  for (const auto& [name, kind] : {std::pair{"finite", 0}, {"infinite", 1}, {"notanumber", 2}, {"subnormal", 3}}) {
    const std::string text = std::string("testp.") + name + ".f32 %p1, %a; selp.u32 %d, 1, 0, %p1;";
    against<u32, float>(text, [kind = kind](float a, float, float) {
      return kind == 0 ? std::isfinite(a) : kind == 1 ? std::isinf(a) : kind == 2 ? a != a
                       : std::fpclassify(a) == FP_SUBNORMAL;
    });
  }
}

TEST(mov_packs_and_unpacks) {
  against<u64, u32>("mov.b64 %d, {%a, %b};", [](u32 a, u32 b, u32) { return static_cast<u64>(b) << 32 | a; });
  against<u32, u64>("mov.b64 {%r1, %r2}, %a; xor.b32 %d, %r1, %r2;", [](u64 a, u64, u64) { return a ^ a >> 32; });
  against<u32, u32>("mov.b32 {%h1, %h2}, %a; mov.b32 %d, {%h2, %h1};",
                    [](u32 a, u32, u32) { return a << 16 | a >> 16; });
  against<u64, u64>("mov.b64 {%h1, %h2, %h3, %h4}, %a; mov.b64 %d, {%h4, %h3, %h2, %h1};", [](u64 a, u64, u64) {
    return a << 48 | (a & 0xffff0000) << 16 | (a >> 16 & 0xffff0000) | a >> 48;
  });
}

TEST(addresses_of_spaces) {
  TestCard card;
  void* function = card.load(kernel_of(with_pointers(
      ".shared .align 4 .b32 cell; mov.u64 %rd5, cell; cvta.shared.u64 %rd6, %rd5; st.u32 [%rd6], 41;\n"
      "isspacep.shared %p1, %rd6; isspacep.global %p2, %rd6; isspacep.global %p3, %rd1; isspacep.local %p4, %rd6;\n"
      "selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; selp.u32 %r3, 4, 0, %p3; selp.u32 %r4, 8, 0, %p4;\n"
      "add.u32 %r5, %r1, %r2; add.u32 %r5, %r5, %r3; add.u32 %r5, %r5, %r4; cvta.to.global.u64 %rd7, %rd1;\n"
      "ld.shared.u32 %r6, [cell]; st.global.v2.u32 [%rd7], {%r5, %r6};", 1), 1));
  const u64 out = card.allocate(8);
  fine(card.run(function, 1, {out}));
  equal("spaces", card.download<u32>(out, 2), std::vector<u32>{5, 41});
}

}  // namespace
}  // namespace standin::test
