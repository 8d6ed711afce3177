// Branches, calls, returns and the barriers of a block. execute.cpp acts on Instruction::flow.
#include "decoder.h"

namespace standin {

void decode_warp_barrier(Decoder& d, const Statement& s);

namespace {

// bar.sync id {, threads}; bar.arrive id, threads. Sources: id, threads (the constant 0 for all threads).
void bar(Decoder& d, Opcode& o, const Statement& s) {
  o.has("cta");
  o.has("aligned");
  if (o.has("warp")) {
    o.has("sync");
    return decode_warp_barrier(d, s);
  }
  const bool arrive = o.has("arrive");
  if (!arrive && !o.has("sync")) d.fail("only bar.sync, bar.arrive and bar.warp.sync are supported");
  const u32 id = d.value(s.operands.at(0).words[0], 4);
  const u32 threads = s.operands.size() > 1 ? d.value(s.operands[1].words[0], 4) : d.constant(0, 4);
  d.emit(nullptr).flow = arrive ? Flow::Arrive : Flow::Barrier;
  d.source(id);
  d.source(threads);
}

}  // namespace

void register_flow(Registry& registry) {
  registry["bra"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("uni");
    d.branch(s.operands.at(0).words[0].text);
  };
  registry["brx"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("idx");
    o.has("uni");
    d.branch_table(s.operands.at(0), s.operands.at(1).words[0].text);
  };
  registry["call"] = [](Decoder& d, Opcode& o, const Statement& s) {
    o.has("uni");
    d.call(s);
  };
  const auto leave = [](Decoder& d, Opcode& o, const Statement&) {
    o.has("uni");
    d.returns();
  };
  registry["ret"] = leave;
  registry["exit"] = [](Decoder& d, Opcode&, const Statement&) { d.emit(nullptr).flow = Flow::Return; };
  registry["trap"] = [](Decoder& d, Opcode&, const Statement&) { d.emit(nullptr).flow = Flow::Trap; };
  registry["bar"] = bar;
  registry["barrier"] = bar;
}

}  // namespace standin
