// What the keeper and its worker say to each other, and the worker's side of it.
//
// Two Unix sockets with message boundaries join them. On the *control* socket the worker says that
// it is ready, and the keeper that it shall end. On the *kept* socket the worker asks the keeper to
// hold descriptors of files without a name, so that a later worker gets them back: each request is
// answered before the call returns. WorkerInheritance travels as one argument of the worker's
// command line. Thread rules: KeptDescriptors is thread-safe; the rest belongs to one thread.
//
//   message:  0 kind u32 | 4 reserved u32 | 8 id u64 | 16 text (ready only); a descriptor may go
//   along
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "content/content.h"

namespace tarn::app {

/// Descriptors that a keeper holds at most. Without passthrough that is every file that is new and
/// open or waits to settle (content queues 4,096), and the pool; with it none.
inline constexpr size_t kKeptDescriptorsMax = 12'288;

enum class LinkKind : uint32_t {
  kReady = 1,    // worker: serving; text is the line to print
  kEnd = 2,      // keeper: finish and exit
  kKeep = 3,     // worker: hold this descriptor under `id`
  kDrop = 4,     // worker: close it
  kGiveAll = 5,  // worker: send all; answered by kKept for each, then kDone
  kKept = 6,
  kDone = 7,
  kFull = 8,  // keeper: the limit is reached, nothing was kept
};

struct LinkMessage {
  LinkKind kind = LinkKind::kDone;
  uint64_t id = 0;
  std::string text;
  UniqueFd fd;
};
/// Sends one message; `fd` goes along when it is not negative.
Status send_link(int socket, LinkKind kind, uint64_t id = 0, const std::string& text = {},
                 int fd = -1);
/// The next message; kUnavailable when the other side is gone.
Result<LinkMessage> receive_link(int socket);

/// Tells systemd, or whoever set NOTIFY_SOCKET, how things stand ("READY=1"); without it, nothing.
void notify_manager(const std::string& text);

/// The descriptors and facts that a worker starts with.
struct WorkerInheritance {
  std::vector<int> fuse_fds;  // empty: no mount
  int state_fd = -1;          // mount::SharedState
  int handles_fd = -1;        // for fs::FsOptions::handle_table_fd
  int control_fd = -1;
  int kept_fd = -1;
  bool is_take_over = false;

  std::string encode() const;
  /// From the argument; the descriptors get close-on-exec again, so that the worker's own children
  /// do not hold the mount. kInvalidArgument when it is malformed.
  static Result<WorkerInheritance> adopt(const std::string& argument);
};

/// Tells the keeper that the worker serves; `line` is printed once, at the first start.
Status tell_ready(const WorkerInheritance& inheritance, const std::string& line);

enum class WorkerEnd : uint8_t { kAsked, kKeeperGone, kUnmounted };
/// Waits until the keeper asks for the end, or is gone, or `session_ended_fd` (-1: none) becomes
/// readable. Signals that a terminal or a service manager sends to the whole group are the
/// keeper's business: the worker ignores SIGINT, SIGTERM and SIGHUP from here on.
Result<WorkerEnd> wait_for_end(const WorkerInheritance& inheritance, int session_ended_fd);

/// The keeper's side of the kept socket: the descriptors themselves.
class KeptStore {
 public:
  /// Answers one message of the worker's; any error means that the socket is of no more use.
  Status serve(int socket);

 private:
  std::map<uint64_t, UniqueFd> held_;
};

/// The worker's side of it: descriptors that outlive this process.
class KeptDescriptors {
 public:
  explicit KeptDescriptors(int socket) : socket_(socket) {}
  /// The keeper holds `fd` under `id` when this returns. kTooManyOpenFiles: the limit is reached.
  Status keep(uint64_t id, int fd);
  Status drop(uint64_t id);
  /// All that is held; the keeper goes on holding them.
  Result<std::vector<std::pair<uint64_t, UniqueFd>>> take_all();

 private:
  const int socket_;
  Mutex mutex_{"app.kept_descriptors", 950};  // held over the exchange of two messages
};

/// content::Holder by way of the keeper.
class KeeperHolder final : public content::Holder {
 public:
  /// `is_take_over`: asks the keeper for what a dead worker left with it.
  static Result<std::unique_ptr<KeeperHolder>> open(int socket, bool is_take_over);
  Status hold(BlobId blob, int fd) override;
  void drop(BlobId blob) override;
  UniqueFd take(BlobId blob) override;
  void drop_rest() override;

 private:
  explicit KeeperHolder(int socket) : kept_(socket) {}
  KeptDescriptors kept_;
  Mutex mutex_{"app.keeper_holder", 945};
  std::map<uint64_t, UniqueFd> left_;  // by the dead worker, not yet taken
};

}  // namespace tarn::app
