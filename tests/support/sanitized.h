// What tests leave out in a build with sanitizers, and why.
#pragma once

#include <cstdint>

#include "executor/fiber/sanitizer.h"

namespace transload {

// Why a test skips that lets a process run out of descriptors; null: it runs. Checks for undefined behaviour open
// pipes to look at memory, and take what they cannot see for an error.
#if TRANSLOAD_ASAN
constexpr const char* kNoDescriptorsLeft = "the sanitizer needs descriptors of its own";
#else
constexpr const char* kNoDescriptorsLeft = nullptr;
#endif

// Why a test skips that walks all schedules with nothing left out, to show that what a walk leaves out changes nothing;
// null: it runs. It shares and allocates nothing that smaller walks do not.
#if TRANSLOAD_ASAN
constexpr const char* kNoWholeWalk = "a walk with nothing left out takes a sanitizer minutes and shows it nothing new";
#else
constexpr const char* kNoWholeWalk = nullptr;
#endif

// True where everything takes several times as long.
#if TRANSLOAD_ASAN || !defined(TRANSLOAD_OWN_NEW)
constexpr bool kSlow = true;
#else
constexpr bool kSlow = false;
#endif

// The most elements of rows whose sums a test makes on one thread.
#if !defined(TRANSLOAD_OWN_NEW)
constexpr uint32_t kElementsOfSums = 12;
#else
constexpr uint32_t kElementsOfSums = kSlow ? 256 : 7168;
#endif

// Why a test skips in which a copy of a process makes groups; null: it runs.
#ifdef TRANSLOAD_OWN_NEW
constexpr const char* kNoThreadsInCopies = nullptr;
#else
constexpr const char* kNoThreadsInCopies = "the sanitizer lets no copy of a process with threads start one";
#endif

// Why a test skips that refuses allocations; that looks at the signals of all threads; whose memory a thread of the
// scrambled fabric writes; or in which several warps of a rank write one place. Null: it runs.
#ifdef TRANSLOAD_OWN_NEW
constexpr const char* kNoAllocationFails = nullptr;
constexpr const char* kForeignThread = nullptr;
constexpr const char* kLandedByAThread = nullptr;
constexpr const char* kSumsInOnePlace = nullptr;
#else
constexpr const char* kNoAllocationFails = "the thread sanitizer has an operator new of its own";
constexpr const char* kForeignThread = "the thread sanitizer has a say in the signals of threads";
constexpr const char* kSumsInOnePlace = "a combine without room puts all sums, which nobody reads, in one place";
constexpr const char* kLandedByAThread =
    "the thread sanitizer does not see that a message of another process comes before what the fabric's thread lands";
#endif

}  // namespace transload
