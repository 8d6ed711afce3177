// Streams, events and graphs. Work is queued and runs only when something waits for it, and then in the least
// favourable order that is still legal: a wait that is missing between two streams gives the wrong data every time.
// Kernels always run as late as they may. Copies do too, or, when eager, as early: the one shows a kernel that does not
// wait for a copy, the other a copy that does not wait for a kernel.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "fault.h"

namespace standin {

struct Stream;

// A place in a stream: everything up to task number `sequence`.
struct Mark {
  std::shared_ptr<Stream> stream;
  u64 sequence = 0;
};

enum class Work { Kernel, Copy };

struct Task {
  std::function<void()> run;
  Work work = Work::Kernel;
  std::vector<Mark> waits;
  u64 order = 0;                   // of submission, over all streams
};

struct Node {
  std::function<void()> run;
  std::vector<int> after;
};

// Work recorded instead of run. Streams that wait for an event of a capture join it.
struct Capture {
  std::vector<Node> nodes;
  const Stream* origin = nullptr;
  bool invalid = false;
};

struct Graph {
  std::vector<Node> nodes;
};

struct Stream {
  std::deque<Task> queue;
  u64 submitted = 0, done = 0;
  bool blocking = true;            // ordered with the default stream
  std::vector<Mark> pending_waits; // of cuStreamWaitEvent, for the next task
  std::shared_ptr<Capture> capture;
  std::vector<int> frontier;       // of the capture: what the next node comes after
};

struct Event {
  Mark mark;
  bool recorded = false;
  bool timed = true;
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
  std::shared_ptr<Capture> capture;
  std::vector<int> frontier;
};

class Streams {
 public:
  Streams() { reset(); }
  void reset();
  std::shared_ptr<Stream> create(bool blocking);
  void destroy(const std::shared_ptr<Stream>& stream);
  const std::shared_ptr<Stream>& default_stream() const { return default_; }

  // Queues the work, or records it when the stream captures. Events and fills count as copies.
  void submit(const std::shared_ptr<Stream>& stream, Work work, std::function<void()> run);
  void record(Event& event, const std::shared_ptr<Stream>& stream);
  void wait(const std::shared_ptr<Stream>& stream, const Event& event);

  // Runs what is needed until the stream's tasks up to the sequence are done.
  void finish(const std::shared_ptr<Stream>& stream, u64 sequence);
  void finish(const std::shared_ptr<Stream>& stream) { finish(stream, stream->submitted); }
  // Runs everything: of the tasks that may run, the one submitted last.
  void finish_all();
  // Runs one task, so that a program which polls makes progress.
  void advance(const std::shared_ptr<Stream>& stream);
  // Forgets all queued work, after a fault.
  void drop();
  bool capturing() const;

  void begin_capture(const std::shared_ptr<Stream>& stream);
  std::unique_ptr<Graph> end_capture(const std::shared_ptr<Stream>& stream);
  // The nodes in the order that their edges allow and a lazy scheduler would like least.
  static void run(const Graph& graph);

 private:
  void run_first(Stream& stream);
  // When they are eager: all copies that may run.
  void run_copies();
  bool ready(const Task& task) const;

  std::vector<std::shared_ptr<Stream>> all_;
  std::shared_ptr<Stream> default_;
  u64 orders_ = 0;
  bool running_copies_ = false;
};

}  // namespace standin
