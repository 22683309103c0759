// How the verbs of a warp reach the model.
#include "sim/model/model_memory.h"

#include "base/check.h"

namespace transload {

uint32_t ModelMemory::add_agents(int last) {
  while (agents_.size() <= size_t(last)) {
    agents_.push_back(s_.flights->add_agent({region(), me_.rank, int32_t(agents_.size()), me_.group}));
    began_failed_.push_back(false);
    warps_.emplace_back();
  }
  return agents_[size_t(last)];
}

void ModelMemory::begin_run(int warps) {
  for (int w = 0; w < warps; ++w) agent(w);
  s_.flights->begin_run(region());
}

bool ModelMemory::step(int w) {
  if (gone_) return false;
  if (me_.always_switch || s_.chance->in_256(s_.manners->switches)) s_.parker->yield();
  agent(w);
  return !gone_;
}

void ModelMemory::record(Happened what, int w, uint64_t b, uint64_t c) {
  s_.journal->record({.what = what,
                      .group = me_.group,
                      .rank = uint16_t(me_.rank),
                      .warp = w,
                      .time = *s_.now,
                      .a = 0,
                      .b = b,
                      .c = c});
}

Word ModelMemory::look(int w, const Word* word, bool acquires) {
  if (!step(w)) return *word;
  const Word value = s_.flights->observe(agent(w), word, acquires);
  record(Happened::kObserved, w, s_.space->holds(word) ? s_.space->offset(word) : 0, value);
  return value;
}

void ModelMemory::knows(int w, const Word* word, Word before, Word now) {
  if (now < before && !gone_) s_.flights->fell(agent(w), word, before, now);
}

Word ModelMemory::claim(int w, Word* counter) {
  step(w);
  return (*counter)++;
}

Word ModelMemory::arrive(int w, Word* counter) {
  if (step(w)) {
    s_.flights->arrive(agent(w));
    record(Happened::kArrive, w, 0, *counter);
  }
  return (*counter)++;
}

void ModelMemory::engine_fence(int w) {
  if (gone_) return;
  s_.flights->engine_fence(agent(w));
  began_failed_[size_t(w)] = failed_;
}

void ModelMemory::move(int w, const Piece& piece, bool staged) {
  if (!step(w)) return;
  if (began_failed_[size_t(w)]) s_.flights->after_fault(agent(w), piece.to);
  s_.flights->move(agent(w), piece, !staged);
}

void ModelMemory::moved(int, uint32_t rows) {
  rows_ += rows;
  if (me_.on_rows && !gone_) me_.on_rows();
}

void ModelMemory::sum(int w, const simd::SumJob& job) {
  if (step(w)) s_.flights->sum(agent(w), job);
}

void ModelMemory::store_fence(int w) {
  if (step(w)) s_.flights->store_fence(agent(w));
}

void ModelMemory::drain(int w) {
  if (step(w)) s_.flights->drain(agent(w));
}

void ModelMemory::settle(int w) {
  if (step(w)) s_.flights->settle(agent(w));
}

void ModelMemory::put(int w, const Put& put) {
  if (!step(w)) return;
  if (me_.rails == RailMode::kProxy) return give(w, command_here(put));
  Put ours = put;
  if (me_.rails == RailMode::kQueues) ours.drained = nullptr;  // with queues a credit frees the source
  s_.flights->put(agent(w), ours, me_.first_region + put.rank);
}

void ModelMemory::publish(int w, RailWord to, Word count, bool credit) {
  if (!step(w)) return;
  if (me_.rails == RailMode::kProxy)
    return give(
        w, {.verb = credit ? RailVerb::kCredit : RailVerb::kPublish, .rank = to.rank, .to = to.offset, .count = count});
  if (me_.rails == RailMode::kQueues) return add(w, to, count);
  const uint32_t region = me_.first_region + to.rank;
  Word* const word = reinterpret_cast<Word*>(s_.space->region(region) + to.offset);
  s_.flights->mark(agent(w), {.word = word, .count = count, .region = region, .release = true, .far = true});
}

void ModelMemory::publish_live(int w, RailWord to, const Word* from) {
  if (!step(w)) return;
  const uint32_t region = me_.first_region + to.rank;
  Word* const word = reinterpret_cast<Word*>(s_.space->region(region) + to.offset);
  s_.flights->mark(agent(w),
                   {.word = word, .count = *from, .region = region, .release = true, .far = true, .live = from});
}

Flights::Count ModelMemory::count_to(Word* at, uint32_t reader, Word count, bool release) const {
  return {.word = at, .count = count, .region = me_.first_region + reader, .release = release, .far = false};
}

void ModelMemory::store(int w, Word* at, uint32_t reader, Word count) {
  if (step(w)) s_.flights->mark(agent(w), count_to(at, reader, count, true));
}

void ModelMemory::store_relaxed(int w, Word* at, uint32_t reader, Word count) {
  if (step(w)) s_.flights->mark(agent(w), count_to(at, reader, count, false));
}

bool ModelMemory::park(int w, Park& park) {
  if (gone_ || failed_) return false;
  // If a word has grown since the warp looked, the parker makes the warp ready again at once.
  record(Happened::kWaits, w, s_.space->holds(park.needs[0].word) ? s_.space->offset(park.needs[0].word) : 0,
         park.needs[0].least);
  const bool met = s_.parker->park(park);
  if (me_.on_woke) me_.on_woke(met && !gone_);
  if (!gone_) record(Happened::kWoke, w, 0, met);
  return met && !failed_;
}

void ModelMemory::broken(int, const BrokenRecord& record) {
  if (!has_broken_) broken_ = record;
  has_broken_ = true;
  failed_ = true;
}

void ModelMemory::enters(int w, Role role, int32_t channel) {
  if (gone_) return;
  agent(w);
  warps_[size_t(w)].role = role;
  warps_[size_t(w)].channel = channel;
  record(Happened::kEnters, w, 0, uint64_t(role) << 32 | uint32_t(channel));
}

const BrokenRecord* ModelMemory::take_broken() {
  if (!has_broken_ || told_broken_) return nullptr;
  told_broken_ = true;
  return &broken_;
}

}  // namespace transload
