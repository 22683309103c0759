// GroupOptions::interrupted: waits of the host end when the caller wants it, and the others hear who left. And groups
// that are abandoned. No deadline ends a wait here.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <stdexcept>
#include <thread>

#include "tests/support/given.h"
#include "tests/support/patience.h"
#include "tests/support/refusal.h"

namespace transload::test {
namespace {

World patient_world(std::vector<uint32_t> node_sizes) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = {20};
  w.deadline_ms = 240000;
  return w;
}

// Runs each rank as run_team() does, with its own `interrupted`.
void run_interrupted(const World& w, const std::function<std::function<bool()>(uint32_t rank)>& interrupted,
                     const std::function<void(Group&, uint32_t rank)>& body) {
  Rendezvous rendezvous;
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      try {
        GroupOptions options = options_of(w, r, rendezvous.port());
        options.interrupted = interrupted(r);
        Group group(options);
        body(group, r);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << r << ": " << error.what();
      }
    });
  for (std::thread& t : ranks) t.join();
}

Fault fault_of(const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kFault) << error.what();
    return error.fault();
  }
  return {};
}

void expect_interrupted(const Fault& fault, const std::string& operation, const std::string& detail) {
  EXPECT_EQ(fault.kind, FaultKind::kFailed) << fault.to_string();
  EXPECT_EQ(fault.culprit_rank, 1u) << fault.to_string();
  EXPECT_TRUE(operation.empty() || fault.operation == operation) << fault.to_string();
  EXPECT_EQ(fault.detail, detail) << fault.to_string();
}

// Rank 2 does not come to the call; rank 1 is told to wait no longer, once rank 0 waits in it too, and all hear why the
// group is lost.
void expect_ends(const World& w, const std::string& operation, const std::string& detail,
                 const std::function<bool()>& end, const std::function<void(Group&, uint32_t)>& call) {
  std::atomic<bool> calls[2] = {}, rank_0_waits{false};
  std::latch over(2);
  run_interrupted(
      w,
      [&](uint32_t rank) -> std::function<bool()> {
        if (rank == 0)
          return [&] {
            if (calls[0]) rank_0_waits = true;
            return false;
          };
        if (rank == 1) return [&] { return calls[1] && rank_0_waits && end(); };
        return nullptr;
      },
      [&](Group& group, uint32_t rank) {
        if (rank < 2) calls[rank] = true;
        if (rank != 2) {
          expect_interrupted(fault_of([&] { call(group, rank); }), operation, detail);
          over.count_down();
        }
        over.wait();
        expect_interrupted(fault_of([&] { group.gather("late"); }), "", detail);
        const World one = patient_world({1});
        Group other(options_of(one, 0, 0, "of rank " + std::to_string(rank)));
        Member(one, problem_of(one), other).pass(Pass{}, 3);
      });
}

TEST(Interrupted, EndsACall) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  for (const World& w : {patient_world({3}), patient_world({2, 1})}) {
    const reference::Problem problem = problem_of(w);
    const auto dispatch = [&](Group& group, uint32_t rank) { group.dispatch(Given(w, problem, rank).in); };
    expect_ends(
        w, "dispatch", "interrupted by its caller", [] { return true; }, dispatch);
  }
}

TEST(Interrupted, WhatItThrowsIsTold) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = patient_world({3});
  const reference::Problem problem = problem_of(w);
  expect_ends(
      w, "dispatch", "interrupted by its caller: a signal came",
      []() -> bool { throw std::runtime_error("a signal came"); },
      [&](Group& group, uint32_t rank) { group.dispatch(Given(w, problem, rank).in); });
}

TEST(Interrupted, EndsAGather) {
  expect_ends(
      patient_world({3}), "gather", "interrupted by its caller", [] { return true; },
      [](Group& group, uint32_t) { group.gather("here"); });
}

// Nobody else comes.
TEST(Interrupted, EndsTheMakingOfAGroup) {
  const World w = patient_world({2});
  Rendezvous rendezvous;
  for (const uint16_t port : {rendezvous.port(), uint16_t(1)}) {  // where nobody listens, too
    GroupOptions options = options_of(w, 1, port);
    options.interrupted = [] { return true; };
    expect_interrupted(fault_of([&] { Group group(options); }), "create", "interrupted by its caller");
  }
}

// The thread that waits asks; and nothing comes of it where it says no.
TEST(Interrupted, AsksTheThreadThatCalls) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = patient_world({2, 1});
  const reference::Problem problem = problem_of(w);
  std::atomic<uint32_t> asked{0}, elsewhere{0};
  std::promise<void> often;
  const std::shared_future<void> asked_often = often.get_future().share();
  run_interrupted(
      w,
      [&](uint32_t rank) -> std::function<bool()> {
        if (rank != 0) return nullptr;
        return [&, mine = std::this_thread::get_id()] {
          if (++asked == 3) often.set_value();
          elsewhere += std::this_thread::get_id() != mine;
          return false;
        };
      },
      [&](Group& group, uint32_t rank) {
        if (rank != 0) asked_often.wait_for(kPatience);  // rank 0 waits for the others meanwhile
        Member(w, problem, group).pass(Pass{}, 2);
      });
  EXPECT_GE(asked, 3u);
  EXPECT_EQ(elsewhere, 0u);
}

// The others' calls that are over are not disturbed, and a later one says who is gone.
TEST(Abandoned, LeavesInPeace) {
  const World w = patient_world({2, 1});
  const reference::Problem problem = problem_of(w);
  std::latch gone(1), seen(2);
  run_interrupted(
      w, [](uint32_t) { return nullptr; },
      [&](Group& group, uint32_t rank) {
        Member(w, problem, group).pass(Pass{}, 2);
        if (rank == 1) {
          group.abandon();
          group.abandon();
          gone.count_down();
          EXPECT_EQ(refusal([&] { group.dispatch({}); }),
                    "dispatch: called on a group that was abandoned, must not be");
          EXPECT_EQ(refusal([&] { group.memory(); }), "memory: called on a group that was abandoned, must not be");
          return seen.wait();
        }
        gone.wait();
        const Fault fault = fault_of([&] { Member(w, problem, group).pass(Pass{}, 3); });
        EXPECT_EQ(fault.kind, FaultKind::kAbsent) << fault.to_string();
        EXPECT_EQ(fault.culprit_rank, 1u) << fault.to_string();
        EXPECT_NE(fault.detail.find("left the group"), std::string::npos) << fault.to_string();
        seen.count_down();
      });
}

TEST(Abandoned, GivesItsNameBack) {
  const World w = patient_world({1});
  Rendezvous rendezvous;
  Group first(options_of(w, 0, rendezvous.port()));
  first.abandon();
  Group second(options_of(w, 0, rendezvous.port()));
  Member(w, problem_of(w), second).pass(Pass{}, 3);
}

}  // namespace
}  // namespace transload::test
