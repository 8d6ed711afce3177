#include "card.h"

namespace standin::test {
namespace {

std::string words_of(int code) {
  const char* name = nullptr;
  cuGetErrorName(code, &name);
  return std::to_string(code) + " " + (name == nullptr ? "?" : name) + " (" + standin_last_fault() + ")";
}

}  // namespace

void fine(int code) { hold(code == 0, "the driver returned " + words_of(code)); }

void refused(int code, int want) { hold(code == want, "want " + std::to_string(want) + ", got " + words_of(code)); }

void refused(int code, int want, std::string_view reason) {
  refused(code, want);
  contains("the driver's words", standin_last_fault(), reason);
}

TestCard::TestCard(const char* settings) {
  standin_reset();
  fine(standin_configure(settings));
  fine(cuInit(0));
  fine(cuCtxCreate_v2(&context_, 0, 0));
}

TestCard::~TestCard() { cuCtxDestroy_v2(context_); }

u64 TestCard::allocate(size_t bytes) {
  u64 address = 0;
  fine(cuMemAlloc_v2(&address, bytes));
  return address;
}

void* TestCard::load(const std::string& ptx) {
  void* module = nullptr;
  void* function = nullptr;
  fine(cuModuleLoadData(&module, ptx.c_str()));
  fine(cuModuleGetFunction(&function, module, "test"));
  return function;
}

int TestCard::launch(void* function, std::array<unsigned, 3> grid, std::array<unsigned, 3> block,
                     const std::vector<u64>& arguments, unsigned shared) {
  std::vector<void*> pointers;
  for (const u64& argument : arguments) pointers.push_back(const_cast<u64*>(&argument));
  return cuLaunchKernel(function, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, nullptr,
                        pointers.data(), nullptr);
}

int TestCard::run(void* function, unsigned threads, const std::vector<u64>& arguments) {
  const int code = launch(function, {1, 1, 1}, {threads, 1, 1}, arguments);
  return code != 0 ? code : cuCtxSynchronize();
}

std::string kernel_of(const std::string& body, int parameters, const std::string& before, const std::string& target) {
  std::string text = ".version " + std::string(target == "sm_90" ? "8.0" : "7.8") + "\n.target " + target
                     + "\n.address_size 64\n" + before + "\n.visible .entry test(";
  for (int i = 0; i < parameters; ++i) text += (i > 0 ? ", .param .u64 p" : ".param .u64 p") + std::to_string(i);
  return text + ") {\n.reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<32>; .reg .b64 %rd<16>; .reg .f32 %f<16>;\n"
         + ".reg .f64 %fd<8>;\n" + body + "\nret;\n}\n";
}

std::string with_pointers(const std::string& body, int parameters) {
  std::string text = "mov.u32 %r0, %tid.x;\n";
  for (int i = 0; i < parameters; ++i) {
    text += "ld.param.u64 %rd" + std::to_string(i + 1) + ", [p" + std::to_string(i) + "];\n";
  }
  return text + body;
}

std::string lanes_kernel(const std::string& body, size_t result_bytes, size_t operand_bytes,
                         const std::string& target) {
  const auto bits = [](size_t bytes) { return ".b" + std::to_string(8 * bytes) + " "; };
  const std::string in = bits(operand_bytes), out = bits(result_bytes);
  std::string text = ".reg " + out + "%d; .reg " + in + "%a, %b, %c; .reg .b64 %at, %place;\n";
  const auto address = [&](int parameter, size_t bytes) {
    return "ld.param.u64 %at, [p" + std::to_string(parameter) + "]; mad.wide.u32 %at, %r0, " + std::to_string(bytes)
           + ", %at;\n";
  };
  text += "mov.u32 %r0, %tid.x;\n" + address(0, result_bytes) + "mov.u64 %place, %at;\n";
  for (int i = 0; i < 3; ++i) {
    text += address(i + 1, operand_bytes) + "ld.global" + in + "%" + static_cast<char>('a' + i) + ", [%at];\n";
  }
  return kernel_of(text + body + "\nst.global" + out + "[%place], %d;", 4, "", target);
}

}  // namespace standin::test
