// The rendezvous on Boost.Asio. What is decided lies in meetings.cc; here are only sockets, one thread and one timer.
#include <utility>

#include <boost/asio.hpp>

#include "runtime/rendezvous.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <deque>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "runtime/meetings.h"
#include "transload/bootstrap.h"
#include "transload/status.h"
#include "transport/scaleup/shm/host.h"

namespace transload {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr std::chrono::milliseconds kFlush{250};  // for last words, when the server closes

class Server;

// One connection. Lives as long as an operation of it is under way.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, tcp::socket socket, uint64_t number)
      : server_(server), socket_(std::move(socket)), number_(number) {}
  void start() { read_head(); }
  void send(const Letter& letter);
  void close();
  bool idle() const { return queue_.empty(); }
  uint64_t number() const { return number_; }

 private:
  void read_head();
  void read_body(FrameHead head);
  void write_next();

  Server& server_;
  tcp::socket socket_;
  const uint64_t number_;
  std::array<char, kFrameHeadBytes> head_{};
  std::string body_;
  std::deque<std::shared_ptr<const std::string>> queue_;
  bool close_when_idle_ = false;
  bool closed_ = false;
};

class Server {
 public:
  Server(asio::io_context& context, const ServerOptions& options, uint64_t number);
  uint16_t port() const { return port_; }
  void arrived(uint64_t number, FrameHead head, const std::string& body);
  void closed(uint64_t number);
  size_t frame_bytes_max(uint64_t number) const { return meetings_.frame_bytes_max(number); }
  void stop();

 private:
  void accept();
  void take_connections();
  void schedule();
  void deliver(const Meetings::Letters& letters);
  void finish_if_flushed();

  asio::io_context& context_;
  tcp::acceptor acceptor_;
  asio::steady_timer timer_;
  asio::steady_timer pause_;
  Meetings meetings_;
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  uint64_t next_number_ = 1;
  uint16_t port_ = 0;
  bool scheduled_ = false;
  bool scheduled_soon_ = false;
  bool stopping_ = false;
};

void Connection::send(const Letter& letter) {
  if (closed_) return;
  if (letter.close) close_when_idle_ = true;
  if (letter.frame && !(letter.droppable && !queue_.empty())) {
    queue_.push_back(letter.frame);
    if (queue_.size() == 1) write_next();
  }
  if (close_when_idle_ && queue_.empty()) close();
}

void Connection::close() {
  if (std::exchange(closed_, true)) return;
  boost::system::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  // Not at once: whoever closes me may be in the middle of a walk over all connections.
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->server_.closed(self->number_); });
}

void Connection::read_head() {
  asio::async_read(socket_, asio::buffer(head_), [self = shared_from_this()](boost::system::error_code error, size_t) {
    if (error) return self->close();
    self->read_body(unpack_head(self->head_.data()));
  });
}

void Connection::read_body(FrameHead head) {
  if (head.body_bytes > server_.frame_bytes_max(number_)) return close();
  body_.resize(head.body_bytes);
  const auto done = [self = shared_from_this(), head](boost::system::error_code error, size_t) {
    if (error) return self->close();
    self->server_.arrived(self->number_, head, self->body_);
    if (!self->closed_) self->read_head();
  };
  asio::async_read(socket_, asio::buffer(body_), done);
}

void Connection::write_next() {
  const auto done = [self = shared_from_this()](boost::system::error_code error, size_t) {
    if (error) return self->close();
    self->queue_.pop_front();
    if (!self->queue_.empty()) return self->write_next();
    if (self->close_when_idle_) self->close();
  };
  asio::async_write(socket_, asio::buffer(*queue_.front()), done);
}

tcp::endpoint endpoint_of(asio::io_context& context, const ServerOptions& options) {
  boost::system::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (!error) return {address, options.port};
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(options.address, std::to_string(options.port));
  return found.begin()->endpoint();
}

Server::Server(asio::io_context& context, const ServerOptions& options, uint64_t number)
    : context_(context),
      acceptor_(context),
      timer_(context),
      pause_(context),
      meetings_({options.in_rank_0, number, options.job, options.secret}) {
  const tcp::endpoint endpoint = endpoint_of(context, options);
  // Asio's own sockets would be inherited by programs that this process starts.
  const int fd = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw boost::system::system_error(errno, boost::system::system_category());
  acceptor_.assign(endpoint.protocol(), fd);
  acceptor_.set_option(tcp::acceptor::reuse_address(true));
  acceptor_.bind(endpoint);
  acceptor_.listen(SOMAXCONN);
  port_ = acceptor_.local_endpoint().port();
  accept();
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
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
      pause_.expires_after(std::chrono::nanoseconds(kTickNs));  // until somebody closes a descriptor
      pause_.async_wait([this](boost::system::error_code error) {
        if (!error && !stopping_) accept();
      });
      return;
    }
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0) return accept();
    tcp::socket socket(context_);
    socket.assign(acceptor_.local_endpoint().protocol(), fd);
    boost::system::error_code error;
    socket.set_option(tcp::no_delay(true), error);
    const tcp::endpoint here = socket.local_endpoint(error);
    const tcp::endpoint there = socket.remote_endpoint(error);
    if (error) continue;
    const uint64_t number = next_number_++;
    const bool remote = !here.address().is_loopback() && here.address() != there.address();
    connections_[number] = std::make_shared<Connection>(*this, std::move(socket), number);
    connections_[number]->start();
    deliver(meetings_.opened(number, {here.address().to_string(), remote}, now_ns()));
    schedule();
  }
}

void Server::arrived(uint64_t number, FrameHead head, const std::string& body) {
  deliver(meetings_.frame(number, FrameType(head.type), body, now_ns()));
  schedule();
}

void Server::closed(uint64_t number) {
  connections_.erase(number);
  if (!stopping_) deliver(meetings_.closed(number, now_ns()));
  if (stopping_) finish_if_flushed();
}

void Server::deliver(const Meetings::Letters& letters) {
  for (const Letter& letter : letters) {
    const auto found = connections_.find(letter.to);
    if (found != connections_.end()) found->second->send(letter);
  }
}

// One timer, only while there is somebody to serve.
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

void Server::stop() {
  stopping_ = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  timer_.expires_after(kFlush);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) context_.stop();
  });
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
      : number(random_word()), job(options.job), secret(options.secret), server(context, options, number) {
    // Signals of the process belong to its other threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread = std::thread([this] { context.run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Impl() {
    asio::post(context, [this] { server.stop(); });
    thread.join();
  }

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
    throw Error(Code::kInvalidArgument, "rendezvous: cannot listen on " + options.address + ":" +
                                            std::to_string(options.port) + ": " + error.code().message());
  }
}

RendezvousServer::~RendezvousServer() = default;
uint16_t RendezvousServer::port() const { return impl_->server.port(); }
uint64_t RendezvousServer::number() const { return impl_->number; }
bool RendezvousServer::is_for(const ServerOptions& options) const {
  return impl_->job == options.job && impl_->secret == options.secret;
}

std::shared_ptr<RendezvousServer> shared_server(const ServerOptions& options, uint32_t patience_ms) {
  if (options.port == 0) return std::make_shared<RendezvousServer>(options);
  // Never destroyed: groups may outlive static objects.
  static std::mutex& mutex = *new std::mutex;
  static auto& servers = *new std::map<std::pair<pid_t, uint16_t>, std::weak_ptr<RendezvousServer>>;
  const uint64_t until = now_ns() + patience_ms * kMillisecondNs;
  while (true) {
    try {
      std::lock_guard lock(mutex);
      std::weak_ptr<RendezvousServer>& there = servers[{::getpid(), options.port}];
      std::shared_ptr<RendezvousServer> server = there.lock();
      if (!server) there = server = std::make_shared<RendezvousServer>(options);
      if (!server->is_for(options))
        throw Error(Code::kInvalidArgument,
                    "bootstrap.port: " + std::to_string(options.port) +
                        ": this process already serves groups of another job or secret there, so it must be another");
      return server;
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
    : impl_(new Impl{RendezvousServer({address, port, false, "", secret})}) {}
Rendezvous::~Rendezvous() = default;
uint16_t Rendezvous::port() const { return impl_->server.port(); }

}  // namespace transload
