// The rendezvous on Boost.Asio. What is decided lies in meetings.cc; here are only sockets, one thread and one timer.
#include <exception>
#include <iterator>
#include <new>
#include <utility>

#include <boost/asio.hpp>

#include "control/rendezvous.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "control/address.h"
#include "control/meetings.h"
#include "os/clock.h"
#include "os/descriptor.h"
#include "os/fork.h"
#include "os/host.h"
#include "os/thread.h"
#include "transload/bootstrap.h"
#include "transload/status.h"

namespace transload {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr std::chrono::milliseconds kFlush{250};      // time for queued frames to leave, when the server closes
constexpr std::chrono::milliseconds kLook{20};        // time between two looks at whether the server has ended
constexpr std::chrono::milliseconds kUnserved{1000};  // time for a connection that cannot be served to say whose it is
constexpr const char* kClosed = "it was closed";
constexpr size_t kBodyBytesKept = 64 << 10;  // bytes that a connection's buffer for frames keeps between two frames

class Server;

// One connection. Lives as long as an operation of it is under way.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, tcp::socket socket, uint64_t number)
      : server_(server),
        socket_(std::move(socket)),
        closed_in_copies_(std::in_place, socket_.native_handle()),
        number_(number) {}
  void start() { read_head(); }
  void send(const Letter& letter);
  void close();
  void drop() noexcept;  // closes at once, and tells nobody

 private:
  void read_head();
  void read_body(FrameHead head);
  void write_next();

  Server& server_;
  tcp::socket socket_;
  std::optional<ClosedInCopies> closed_in_copies_;
  const uint64_t number_;
  std::array<char, kFrameHeadBytes> head_{};
  std::string body_;
  std::deque<std::shared_ptr<const std::string>> queue_;
  size_t waiting_bytes_ = 0;  // bytes in the queue
  bool close_when_idle_ = false;
  bool closed_ = false;
};

class Server {
 public:
  Server(asio::io_context& context, const ServerOptions& options, MeetingsOptions who);
  uint16_t port() const { return port_; }
  void arrived(uint64_t number, FrameHead head, const std::string& body);
  void closed(uint64_t number);
  const Meetings& meetings() const { return meetings_; }
  void stop(const std::string& why);
  // Ends the server where its thread fails: all groups are told, or see their connections end.
  void break_down(const std::exception& error) noexcept;

  // Counts holders in this process. The last holder to go, or after that the last member, ends the server.
  bool hold();  // any thread may call this; false: the server has ended
  bool let_go();
  bool ended();  // any thread may call this

 private:
  void listen(const std::vector<tcp::endpoint>& places);
  void accept();
  void take_connections();
  void admit(int fd, std::string unserved);
  void turn_away();
  void pause(std::chrono::nanoseconds duration);
  void schedule();
  void deliver(const Meetings::Letters& letters);
  void finish_if_flushed();
  bool end_if_unused();

  asio::io_context& context_;
  tcp::acceptor acceptor_;
  std::optional<ClosedInCopies> closed_in_copies_;
  asio::steady_timer timer_;
  asio::steady_timer pause_;
  Meetings meetings_;
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  uint64_t next_number_ = 1;
  Descriptor spare_;       // a reserve: when descriptors run out, its number serves to refuse one more member
  uint64_t unserved_ = 0;  // the connection that uses the spare descriptor; 0: none
  uint16_t port_ = 0;
  bool scheduled_ = false;
  bool scheduled_soon_ = false;
  bool stopping_ = false;

  std::mutex mutex_;  // guards what follows
  uint32_t holders_ = 1;
  bool ended_ = false;
};

void Connection::send(const Letter& letter) {
  if (closed_) return;
  if (letter.close) close_when_idle_ = true;
  if (letter.frame && !(letter.droppable && !queue_.empty())) {
    queue_.push_back(letter.frame);
    waiting_bytes_ += letter.frame->size();
    if (waiting_bytes_ > server_.meetings().waiting_bytes_max(number_)) return close();  // the member does not read
    if (queue_.size() == 1) write_next();
  }
  if (close_when_idle_ && queue_.empty()) close();
}

void Connection::close() {
  if (std::exchange(closed_, true)) return;
  boost::system::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  closed_in_copies_.reset();
  socket_.close(ignored);
  // The server forgets me later, because whoever closes me may be in the middle of a walk over all connections.
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->server_.closed(self->number_); });
}

void Connection::drop() noexcept {
  closed_ = true;
  boost::system::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  closed_in_copies_.reset();
  socket_.close(ignored);
}

void Connection::read_head() {
  asio::async_read(socket_, asio::buffer(head_), [self = shared_from_this()](boost::system::error_code error, size_t) {
    if (error) return self->close();
    self->read_body(unpack_head(self->head_.data()));
  });
}

void Connection::read_body(FrameHead head) {
  if (head.body_bytes > server_.meetings().frame_bytes_max(number_, FrameType(head.type))) return close();
  body_.resize(head.body_bytes);
  const auto done = [self = shared_from_this(), head](boost::system::error_code error, size_t) {
    if (error) return self->close();
    self->server_.arrived(self->number_, head, self->body_);
    if (self->body_.capacity() > kBodyBytesKept) std::string().swap(self->body_);
    if (!self->closed_) self->read_head();
  };
  asio::async_read(socket_, asio::buffer(body_), done);
}

void Connection::write_next() {
  const auto done = [self = shared_from_this()](boost::system::error_code error, size_t) {
    if (error) return self->close();
    self->waiting_bytes_ -= self->queue_.front()->size();
    self->queue_.pop_front();
    if (!self->queue_.empty()) return self->write_next();
    if (self->close_when_idle_) self->close();
  };
  asio::async_write(socket_, asio::buffer(*queue_.front()), done);
}

// Where to listen: the first of these that works is taken.
std::vector<tcp::endpoint> endpoints_of(const ServerOptions& options) {
  const std::string host = bare_host(options.address);
  boost::system::error_code error;
  const asio::ip::address address = asio::ip::make_address(host, error);
  if (!error && address.is_unspecified())
    return {{asio::ip::address_v6::any(), options.port}, {asio::ip::address_v4::any(), options.port}};
  if (!error) return {{address, options.port}};
  std::vector<tcp::endpoint> places;
  std::string why;
  for (const std::string& found : addresses_of(host, now_ns() + kLookUpNs, why))
    places.emplace_back(asio::ip::make_address(found), options.port);
  if (places.empty())
    throw Error(Code::kInvalidArgument, "rendezvous: cannot listen on " + with_port(options.address, options.port) +
                                            ": cannot resolve the name: " + why);
  return places;
}

Descriptor open_spare() { return Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

Server::Server(asio::io_context& context, const ServerOptions& options, MeetingsOptions who)
    : context_(context),
      acceptor_(context),
      timer_(context),
      pause_(context),
      meetings_(std::move(who)),
      spare_(open_spare()) {
  listen(endpoints_of(options));
  closed_in_copies_.emplace(acceptor_.native_handle());
  port_ = acceptor_.local_endpoint().port();
  accept();
}

void Server::listen(const std::vector<tcp::endpoint>& places) {
  for (size_t i = 0; i < places.size(); ++i) {
    const tcp::endpoint& place = places[i];
    // Asio's own sockets would be inherited by programs that this process starts.
    const int fd = ::socket(place.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    boost::system::error_code error(fd < 0 ? errno : 0, boost::system::system_category()), ignored;
    if (!error) {
      acceptor_.assign(place.protocol(), fd);
      acceptor_.set_option(tcp::acceptor::reuse_address(true));
      if (place.address().is_v6() && place.address().is_unspecified())
        acceptor_.set_option(asio::ip::v6_only(false), ignored);
      acceptor_.bind(place, error);
    }
    if (!error) acceptor_.listen(SOMAXCONN, error);
    if (!error) return;
    // A port that somebody else has is not taken in the other family instead.
    if (i + 1 == places.size() || error == asio::error::address_in_use) throw boost::system::system_error(error);
    acceptor_.close(ignored);
  }
}

void Server::accept() {
  acceptor_.async_wait(tcp::acceptor::wait_read, [this](boost::system::error_code error) {
    if (error || stopping_) return;
    take_connections();
  });
}

void Server::take_connections() {
  while (true) {
    const int fd = ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) return turn_away();
    if (fd < 0 && (errno == ENOMEM || errno == ENOBUFS)) return pause(std::chrono::nanoseconds(kTickNs));
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0) return accept();
    admit(fd, {});
  }
}

void Server::admit(int fd, std::string unserved) {
  tcp::socket socket(context_);
  try {
    socket.assign(acceptor_.local_endpoint().protocol(), fd);
  } catch (const std::exception&) {  // no object owns `fd` yet
    ::close(fd);
    throw;
  }
  boost::system::error_code error;
  socket.set_option(tcp::no_delay(true), error);
  const tcp::endpoint here = socket.local_endpoint(error);
  const tcp::endpoint there = socket.remote_endpoint(error);
  if (error) return;
  const std::string address = text_of(here.data());
  const bool remote = !is_loopback(address) && address != text_of(there.data());
  const uint64_t number = next_number_++;
  connections_[number] = std::make_shared<Connection>(*this, std::move(socket), number);
  if (!unserved.empty()) unserved_ = number;
  deliver(meetings_.opened(number, {address, remote, std::move(unserved)}, now_ns()));
  connections_[number]->start();
  schedule();
}

// There is no descriptor for one more member. The spare one serves to hear who it is, so that others can be told.
void Server::turn_away() {
  const bool mine = errno == EMFILE;
  spare_.reset();
  const int fd = ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0)
    admit(fd, "the rendezvous is out of descriptors (" + (mine ? descriptor_limit() : "all of its host's") + ")");
  if (unserved_ == 0) spare_ = open_spare();
  pause(unserved_ != 0 ? kUnserved : std::chrono::nanoseconds(kTickNs));
}

void Server::pause(std::chrono::nanoseconds duration) {
  pause_.expires_after(duration);
  pause_.async_wait([this](boost::system::error_code error) {
    if (error || stopping_) return;
    const auto found = connections_.find(unserved_);
    if (found != connections_.end()) return found->second->close();  // no word came; closed() accepts again
    accept();
  });
}

void Server::arrived(uint64_t number, FrameHead head, const std::string& body) {
  deliver(meetings_.frame(number, FrameType(head.type), body, now_ns()));
  schedule();
  end_if_unused();
}

void Server::closed(uint64_t number) {
  connections_.erase(number);
  if (stopping_) return finish_if_flushed();
  deliver(meetings_.closed(number, now_ns()));
  if (number == unserved_) {
    unserved_ = 0;
    spare_ = open_spare();
    pause_.cancel();
    accept();
  }
  end_if_unused();
}

void Server::deliver(const Meetings::Letters& letters) {
  for (const Letter& letter : letters) {
    const auto found = connections_.find(letter.to);
    if (found != connections_.end()) found->second->send(letter);
  }
}

// Starts the one timer, which runs only while there is somebody to serve.
void Server::schedule() {
  const bool soon = meetings_.pending();
  if (stopping_ || (scheduled_ && (scheduled_soon_ || !soon))) return;
  if (meetings_.connections() == 0 && meetings_.parties() == 0) return;
  scheduled_ = true;
  scheduled_soon_ = soon;
  timer_.expires_after(std::chrono::nanoseconds(soon ? kTickPendingNs : kTickNs));
  timer_.async_wait([this](boost::system::error_code error) {
    if (error || stopping_) return;
    scheduled_ = false;
    deliver(meetings_.tick(now_ns()));
    schedule();
  });
}

bool Server::hold() {
  const std::lock_guard lock(mutex_);
  if (ended_) return false;
  ++holders_;
  return true;
}

bool Server::let_go() {
  {
    const std::lock_guard lock(mutex_);
    --holders_;
  }
  return end_if_unused();
}

bool Server::ended() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

bool Server::end_if_unused() {
  {
    const std::lock_guard lock(mutex_);
    if (holders_ > 0 || meetings_.in_use()) return false;
    ended_ = true;
  }
  stop(kClosed);
  return true;
}

void Server::break_down(const std::exception& error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  try {
    const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    if (!stopping_) return stop(std::string("its server fails: ") + (memory ? "out of memory" : error.what()));
  } catch (const std::exception&) {
  }
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  for (const auto& [number, connection] : connections_) connection->drop();
  context_.stop();
}

void Server::stop(const std::string& why) {
  if (std::exchange(stopping_, true)) return;
  boost::system::error_code ignored;
  closed_in_copies_.reset();
  acceptor_.close(ignored);
  pause_.cancel();
  timer_.expires_after(kFlush);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) context_.stop();
  });
  deliver(meetings_.end(now_ns(), why));
  Letter goodbye;
  goodbye.close = true;
  for (const auto& [number, connection] : connections_) connection->send(goodbye);
  finish_if_flushed();
}

void Server::finish_if_flushed() {
  if (connections_.empty()) timer_.cancel();
}

}  // namespace

struct RendezvousServer::Impl {
  explicit Impl(const ServerOptions& options)
      : number(random_word()),
        job(options.job),
        secret(options.secret),
        server(context, options, {process_identity().nonce, number, job, secret}) {
    thread = start_thread([this] { serve(); });
  }
  ~Impl() {
    asio::post(context, [this] { server.stop(kClosed); });
    thread.join();
  }
  void serve() noexcept {
    while (true) {
      try {
        context.run();
        return;
      } catch (const std::exception& error) {
        server.break_down(error);
      }
    }
  }

  const Origin origin;
  asio::io_context context{1};
  const uint64_t number;
  const std::string job, secret;
  Server server;
  std::thread thread;
};

RendezvousServer::RendezvousServer(const ServerOptions& options) {
  try {
    impl_ = std::make_unique<Impl>(options);
  } catch (const boost::system::system_error& error) {
    throw Error(Code::kInvalidArgument, "rendezvous: cannot listen on " + with_port(options.address, options.port) +
                                            ": " + text_of_error(error.code().value()));
  } catch (const std::system_error& error) {
    throw Error(Code::kOutOfMemory,
                "rendezvous: a thread cannot be started: " + text_of_no_thread(error.code().value()));
  }
}

RendezvousServer::~RendezvousServer() {
  if (impl_ && !impl_->origin.here()) abandon(std::shared_ptr<Impl>(impl_.release(), [](Impl*) {}));
}

uint16_t RendezvousServer::port() const { return impl_->server.port(); }
uint64_t RendezvousServer::number() const { return impl_->number; }
bool RendezvousServer::is_for(const ServerOptions& options) const {
  return impl_->job == options.job && impl_->secret == options.secret;
}

// The servers of this process, by the port that was asked for. One that has ended is dropped at the next look for any.
struct SharedServers {
  using Shared = std::shared_ptr<RendezvousServer>;

  Shared hold(const ServerOptions& options) {
    const std::lock_guard lock(mutex_);
    Shared found;
    for (auto at = servers_.begin(); at != servers_.end();) {
      const bool asked = !found && options.port != 0 && at->first == options.port && !at->second->impl_->server.ended();
      if (asked && !at->second->is_for(options))
        throw Error(Code::kInvalidArgument,
                    "this process already serves groups of another job or secret there, so the port must be another");
      if (asked && at->second->impl_->server.hold()) found = at->second;
      at = at->second->impl_->server.ended() ? servers_.erase(at) : std::next(at);
    }
    if (!found) servers_.emplace(options.port, found = std::make_shared<RendezvousServer>(options));
    return Shared(found.get(), [this, found](RendezvousServer*) {
      try {
        let_go(found);
      } catch (const std::exception&) {  // the server then stays as long as the process
      }
    });
  }

 private:
  void let_go(const Shared& server) {
    RendezvousServer::Impl& impl = *server->impl_;
    if (!impl.origin.here()) return;
    const auto ended = std::make_shared<std::promise<bool>>();
    std::future<bool> answer = ended->get_future();
    asio::post(impl.context, [&impl, ended] { ended->set_value(impl.server.let_go()); });
    // A server that broke down may never answer.
    while (answer.wait_for(kLook) != std::future_status::ready && !impl.server.ended()) {
    }
    if (!impl.server.ended()) return;
    const std::lock_guard lock(mutex_);
    for (auto at = servers_.begin(); at != servers_.end();)
      at = at->second == server ? servers_.erase(at) : std::next(at);
  }

  std::mutex mutex_;
  std::multimap<uint16_t, Shared> servers_;
};

std::shared_ptr<RendezvousServer> shared_server(const ServerOptions& options, uint32_t patience_ms) {
  const uint64_t until = now_ns() + patience_ms * kMillisecondNs;
  while (true) {
    try {
      return one_per_process<SharedServers>().hold(options);
    } catch (const Error&) {
      if (now_ns() >= until) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

struct Rendezvous::Impl {
  RendezvousServer server;
};

Rendezvous::Rendezvous(const std::string& address, uint16_t port, const std::string& secret)
    : impl_(new Impl{RendezvousServer({address, port, "", secret})}) {}
Rendezvous::~Rendezvous() = default;
uint16_t Rendezvous::port() const { return impl_->server.port(); }

}  // namespace transload
