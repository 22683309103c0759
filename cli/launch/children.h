// The processes of a launcher's ranks.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cli/run/status_page.h"

namespace transload::cli {

struct Child {
  uint32_t first = 0, count = 0;  // the child runs ranks `first` to `first + count - 1`
  pid_t pid = -1;
  int report = -1;   // read end of its pipe; -1: closed
  std::string text;  // what has come over the pipe so far
  bool ended = false;
  int status = 0;  // what waitpid() reported
  bool killed_by_us = false;
  uint64_t activity = 0;   // sum of the activity of the child's ranks, when last read
  uint64_t active_ns = 0;  // when `activity` was last seen to change
};

// Starts copies of this program, each for some ranks that follow each other. They die with the calling thread, by
// SIGKILL; the destructor kills and reaps the rest.
class Children {
 public:
  struct Share {
    uint32_t ranks, of_a_process;
  };
  // Where ranks meet, and the secret that they prove there. Both go by environments, which only this user can read.
  struct Where {
    uint16_t port;
    std::string secret;
  };
  Children(Share share, const Where& where, char** arguments);
  ~Children();
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  StatusBoard board() const { return board_; }
  std::vector<Child>& all() { return children_; }

  // Waits for news, timeout_ms at most. Then notes what ranks have said, which have ended, and which were active.
  void look(int timeout_ms);
  void signal(Child& child, int signal);

 private:
  void start(Child& child, const Where& where, char** arguments);
  void end();
  void read_report(Child& child);
  std::vector<Child> children_;
  StatusBoard board_;
  int board_file_ = -1;
};

// The board and the report pipe that a child of this class inherits.
struct Inheritance {
  StatusBoard board;
  int report = -1;
};
bool has_inheritance();
Inheritance take_inheritance(uint32_t ranks);
void write_all(int file, const std::string& text);

}  // namespace transload::cli
