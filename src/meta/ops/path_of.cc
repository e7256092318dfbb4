#include <algorithm>

#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {

Result<std::vector<std::string>> path_of(kv::Transaction& txn, Ino ino) {
  std::vector<std::string> path;
  for (Ino at = ino; at != kRootIno;) {
    TARN_ASSIGN(auto row, find_inode(txn, at));
    if (!row || !row->parent || row->parent == at) {
      return Status{Code::kNotFound, fmt::format("inode {} has no path of its own", ino.value)};
    }
    path.push_back(std::move(row->name));
    at = row->parent;
  }
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace tarn::meta
