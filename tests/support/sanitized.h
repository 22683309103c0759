// What a build with sanitizers cannot test.
#pragma once

namespace transload {

// Why a test skips that lets a process run out of descriptors; null: it runs. Checks for undefined behaviour open
// pipes to look at memory, and take what they cannot see for an error.
#ifdef __SANITIZE_ADDRESS__
constexpr const char* kNoDescriptorsLeft = "the sanitizer needs descriptors of its own";
#else
constexpr const char* kNoDescriptorsLeft = nullptr;
#endif

// Why a test skips that refuses allocations, and one that looks at all threads; null: it runs.
#ifdef TRANSLOAD_OWN_NEW
constexpr const char* kNoAllocationFails = nullptr;
constexpr const char* kForeignThread = nullptr;
#else
constexpr const char* kNoAllocationFails = "the thread sanitizer has an operator new of its own";
constexpr const char* kForeignThread = "the thread sanitizer has a say in the signals of threads";
#endif

}  // namespace transload
