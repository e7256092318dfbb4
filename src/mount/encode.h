// From the file system's values to the protocol's structures.
//
// Pure functions; their bytes are pinned in wire_test.cc. An inode's generation in the protocol is
// always 0, because inode numbers are never used again; the generation of a file's bytes is another
// thing. Attributes of a file that is not settled are given to the kernel with no validity: a
// passthrough writer changes them without telling anyone. Thread rules: plain functions.
#pragma once

#include "fs/types.h"
#include "mount/dispatcher.h"
#include "mount/fuse_kernel.h"

namespace tarn::mount {

wire::Attr encode_attributes(const fs::Attributes& attributes);
wire::AttrOut encode_attr_out(const fs::Attributes& attributes, const Validity& validity);
wire::EntryOut encode_entry(const fs::Attributes& attributes, const Validity& validity);
/// The same for a file that CREATE has just made: its attributes may be believed for a moment.
wire::EntryOut encode_created(const fs::Attributes& attributes, const Validity& validity);
/// "There is no such name", to be remembered for `validity.absent`.
wire::EntryOut encode_absent(const Validity& validity);
wire::StatxOut encode_statx(const fs::Attributes& attributes, const Validity& validity);
wire::StatfsOut encode_statfs(const fs::StatFs& statfs);
wire::OpenOut encode_opened(const fs::Opened& opened);

/// What SETATTR asks to change.
fs::SetAttributes decode_setattr(const wire::SetattrIn& in);

/// Writes directory entries one after another into `space`.
class DirectoryEncoder {
 public:
  explicit DirectoryEncoder(std::span<std::byte> space) : space_(space) {}
  /// False, and nothing written, when the item does not fit. With `validity` (READDIRPLUS) the
  /// item's attributes go with it; '.', '..' and items without attributes get an entry that the
  /// kernel does not enter into its caches.
  bool add(const fs::DirectoryItem& item, const Validity* validity);
  size_t size() const { return used_; }

 private:
  std::span<std::byte> space_;
  size_t used_ = 0;
};

}  // namespace tarn::mount
