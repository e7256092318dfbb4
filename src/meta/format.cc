#include "meta/meta.h"
#include "meta/ops/support.h"

namespace tarn::meta {

Status format(kv::Store& store, uint32_t uid, uint32_t gid, TimeNs now) {
  auto body = [&](kv::Transaction& txn) -> Status {
    std::string key = ino_key(Prefix::kInode, kRootIno);
    TARN_ASSIGN(auto present, txn.get_tracked(key));
    if (present) return {};
    InodeRow root;
    root.ino = root.parent = kRootIno;
    root.mode = S_IFDIR | 0755;
    root.uid = uid;
    root.gid = gid;
    root.nlink = 2;
    root.atime = root.mtime = root.ctime = root.btime = now;
    txn.put(key, encode_inode(root));
    txn.put(ino_key(Prefix::kAlive, kRootIno), mark());
    InodeRow staging = root;
    staging.ino = staging.parent = kStagingIno;
    staging.mode = S_IFDIR | 0700;
    staging.uid = staging.gid = 0;
    txn.put(ino_key(Prefix::kInode, kStagingIno), encode_inode(staging));
    txn.put(ino_key(Prefix::kAlive, kStagingIno), mark());
    merge_usage(txn, 0, 1);
    return {};
  };
  TARN_ASSIGN(kv::Committed committed, kv::transact(store, body));
  return store.sync(committed.stamp);
}

}  // namespace tarn::meta
