#include "stream.h"

#include <algorithm>

#include "card.h"

namespace standin {

void Streams::reset() {
  drop();
  all_.clear();
  default_ = std::make_shared<Stream>();
  all_.push_back(default_);
}

std::shared_ptr<Stream> Streams::create(bool blocking) {
  auto stream = std::make_shared<Stream>();
  stream->blocking = blocking;
  all_.push_back(stream);
  return stream;
}

void Streams::destroy(const std::shared_ptr<Stream>& stream) {
  finish(stream);
  std::erase(all_, stream);
}

bool Streams::capturing() const {
  return std::any_of(all_.begin(), all_.end(), [](const auto& s) { return s->capture != nullptr; });
}

void Streams::submit(const std::shared_ptr<Stream>& stream, Work work, std::function<void()> run) {
  if (stream->capture != nullptr) {
    Capture& capture = *stream->capture;
    capture.nodes.push_back({std::move(run), stream->frontier});
    stream->frontier.assign(1, static_cast<int>(capture.nodes.size()) - 1);
    return;
  }
  if (stream == default_ && capturing()) {
    throw Fault(kStreamCaptureImplicit, "the default stream waits for streams that are capturing");
  }
  Task task{std::move(run), work, std::move(stream->pending_waits), ++orders_};
  stream->pending_waits.clear();
  // The default stream and the blocking streams wait for each other.
  if (stream == default_) {
    for (const auto& other : all_) {
      if (other != default_ && other->blocking) task.waits.push_back({other, other->submitted});
    }
  } else if (stream->blocking) {
    task.waits.push_back({default_, default_->submitted});
  }
  stream->queue.push_back(std::move(task));
  ++stream->submitted;
  run_copies();
}

void Streams::record(Event& event, const std::shared_ptr<Stream>& stream) {
  event.recorded = true;
  if (stream->capture != nullptr) {
    event.capture = stream->capture;
    event.frontier = stream->frontier;
    event.mark = {};
    return;
  }
  event.capture.reset();
  auto time = std::make_shared<std::chrono::steady_clock::time_point>();
  submit(stream, Work::Copy, [time] { *time = std::chrono::steady_clock::now(); });
  event.time = std::move(time);
  event.mark = {stream, stream->submitted};
}

void Streams::wait(const std::shared_ptr<Stream>& stream, const Event& event) {
  if (!event.recorded) return;
  if (event.capture != nullptr) {
    if (stream->capture == nullptr) {
      stream->capture = event.capture;
      stream->frontier = event.frontier;
    } else if (stream->capture == event.capture) {
      stream->frontier.insert(stream->frontier.end(), event.frontier.begin(), event.frontier.end());
    } else {
      throw Fault(kStreamCaptureUnmatched, "a stream of one capture waits for an event of another");
    }
    return;
  }
  if (stream->capture != nullptr) {
    throw Fault(kStreamCaptureIsolation, "a capturing stream waits for an event recorded outside the capture");
  }
  stream->pending_waits.push_back(event.mark);
}

bool Streams::ready(const Task& task) const {
  return std::all_of(task.waits.begin(), task.waits.end(),
                     [](const Mark& mark) { return mark.stream->done >= mark.sequence; });
}

void Streams::run_first(Stream& stream) {
  const Task task = std::move(stream.queue.front());
  stream.queue.pop_front();
  ++stream.done;
  task.run();
  run_copies();
}

void Streams::run_copies() {
  if (!card().eager || running_copies_) return;
  running_copies_ = true;
  for (bool progress = true; progress;) {
    progress = false;
    for (const auto& stream : all_) {
      while (!stream->queue.empty() && stream->queue.front().work == Work::Copy && ready(stream->queue.front())) {
        run_first(*stream);
        progress = true;
      }
    }
  }
  running_copies_ = false;
}

void Streams::finish(const std::shared_ptr<Stream>& stream, u64 sequence) {
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    throw Fault(kStreamCaptureUnsupported, "the stream is capturing, nothing can wait for it");
  }
  while (stream->done < sequence) {
    if (ready(stream->queue.front())) {
      run_first(*stream);
      continue;
    }
    const std::vector<Mark> waits = stream->queue.front().waits;
    for (const Mark& mark : waits) finish(mark.stream, mark.sequence);
  }
  // A wait that nothing followed counts when the host waits for the whole stream.
  if (sequence == stream->submitted) {
    const std::vector<Mark> waits = std::move(stream->pending_waits);
    stream->pending_waits.clear();
    for (const Mark& mark : waits) finish(mark.stream, mark.sequence);
  }
}

void Streams::finish_all() {
  if (capturing()) throw Fault(kStreamCaptureUnsupported, "a stream is capturing, nothing can wait for the device");
  while (true) {
    Stream* latest = nullptr;
    for (const auto& stream : all_) {
      if (stream->queue.empty() || !ready(stream->queue.front())) continue;
      if (latest == nullptr || stream->queue.front().order > latest->queue.front().order) latest = stream.get();
    }
    if (latest == nullptr) return;
    run_first(*latest);
  }
}

void Streams::advance(const std::shared_ptr<Stream>& stream) {
  if (stream->done < stream->submitted) finish(stream, stream->done + 1);
}

void Streams::drop() {
  for (const auto& stream : all_) {
    stream->queue.clear();
    stream->pending_waits.clear();
    stream->done = stream->submitted;
    stream->capture.reset();
    stream->frontier.clear();
  }
}

void Streams::begin_capture(const std::shared_ptr<Stream>& stream) {
  if (stream == default_) throw Fault(kStreamCaptureUnsupported, "the default stream cannot capture");
  if (stream->capture != nullptr) throw Fault(kStreamCaptureUnmatched, "the stream is capturing already");
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream.get();
  stream->frontier.clear();
}

std::unique_ptr<Graph> Streams::end_capture(const std::shared_ptr<Stream>& stream) {
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr || capture->origin != stream.get()) {
    throw Fault(kStreamCaptureUnmatched, "no capture was begun on this stream");
  }
  std::vector<bool> joined(capture->nodes.size());
  std::vector<int> open = stream->frontier;
  while (!open.empty()) {
    const size_t node = static_cast<size_t>(open.back());
    open.pop_back();
    if (joined[node]) continue;
    joined[node] = true;
    open.insert(open.end(), capture->nodes[node].after.begin(), capture->nodes[node].after.end());
  }
  for (const auto& each : all_) {
    if (each->capture == capture) {
      each->capture.reset();
      each->frontier.clear();
    }
  }
  if (capture->invalid) throw Fault(kStreamCaptureInvalidated, "a call during the capture was not allowed in it");
  if (std::find(joined.begin(), joined.end(), false) != joined.end()) {
    throw Fault(kStreamCaptureUnjoined, "the capture has work of another stream that the first one never waits for");
  }
  return std::make_unique<Graph>(Graph{capture->nodes});
}

void Streams::run(const Graph& graph) {
  std::vector<bool> done(graph.nodes.size());
  for (size_t left = graph.nodes.size(); left > 0; --left) {
    // Nodes come after their predecessors, so that the last ready one always exists.
    for (size_t i = graph.nodes.size(); i-- > 0;) {
      const Node& node = graph.nodes[i];
      const bool ready = !done[i] && std::all_of(node.after.begin(), node.after.end(),
                                                 [&](int before) { return done[static_cast<size_t>(before)]; });
      if (!ready) continue;
      done[i] = true;
      node.run();
      break;
    }
  }
}

}  // namespace standin
