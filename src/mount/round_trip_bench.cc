// Microseconds of one request and its answer: stat(2) of the mount's root with no validity, so that
// each is one GETATTR, with 1 reader and with more cloned readers. Needs root and /dev/fuse.
//
//   round_trip_bench [seconds a figure]
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "mount/memory_fs.h"
#include "mount/mount_point.h"
#include "mount/session.h"

namespace {

using namespace tarn;
using namespace tarn::mount;

/// Microseconds a stat, asked by `clients` processes at once.
double measure(const std::string& directory, size_t clients, double seconds) {
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0) return -1;
  for (size_t c = 0; c < clients; ++c) {
    if (fork() != 0) continue;
    using Steady = std::chrono::steady_clock;
    auto began = Steady::now();
    double count = 0, spent = 0;
    struct stat info;
    while (spent < seconds) {
      for (int i = 0; i < 100; ++i) stat(directory.c_str(), &info);
      count += 100;
      spent = std::chrono::duration<double>(Steady::now() - began).count();
    }
    double micros = spent * 1e6 / count;
    _exit(write(pipe_fds[1], &micros, sizeof micros) == sizeof micros ? 0 : 1);
  }
  double sum = 0;
  for (size_t c = 0; c < clients; ++c) {
    double micros = 0;
    if (read(pipe_fds[0], &micros, sizeof micros) == sizeof micros) sum += micros;
    wait(nullptr);
  }
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  return sum / static_cast<double>(clients);
}

int run(double seconds) {
  std::printf("queues  clients  us a stat\n");
  for (size_t queues : {1, 2, 4, 8}) {
    char name[] = "/tmp/tarn-bench-XXXXXX";
    if (mkdtemp(name) == nullptr) return 1;
    MountOptions options;
    options.directory = name;
    auto mounted = MountPoint::mount(options);
    if (!mounted.is_ok()) {
      std::fprintf(stderr, "%s\n", mounted.status().to_string().c_str());
      return 1;
    }
    auto shared = SharedState::create().value();
    shared->negotiated = negotiate(mounted->fd(), {}).value();
    SessionOptions session_options;
    session_options.validity = {0, 0, 0};
    for (size_t i = 0; i < queues; ++i) {
      session_options.fds.push_back(clone_device(mounted->fd()).value());
    }
    MemoryFs fs;
    auto session = Session::create(std::move(session_options), shared).value();
    if (!session->start(fs).is_ok()) return 1;
    for (size_t clients : {1, 2}) {
      std::printf("%6zu  %7zu  %9.1f\n", queues, clients, measure(name, clients, seconds));
      std::fflush(stdout);
    }
    static_cast<void>(mounted->unmount());
    session->stop();
    rmdir(name);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc > 1 ? std::atof(argv[1]) : 2.0);
}
