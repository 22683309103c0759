// Threads of the library.
#pragma once
#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace transload {

// Signals that are sent to the process belong to its other threads. What a thread itself does wrong stays its own:
// blocked, it would end the process without the handlers that the process has set for it.
template <class Thread = std::thread, class Body>
Thread start_thread(Body body) {
  struct Masked {
    Masked() {
      sigset_t most;
      sigfillset(&most);
      for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&most, own);
      pthread_sigmask(SIG_SETMASK, &most, &before);
    }
    ~Masked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    sigset_t before;
  };
  const Masked masked;
  return Thread(std::move(body));
}

}  // namespace transload
