// Threads of the library.
#pragma once
#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace transload {

// Starts a thread that takes no signal that is sent to the process: these belong to its other threads. Signals for what
// the thread itself does wrong are not blocked, because a blocked one ends the process and never calls its handler.
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
