// Validator: decides, member by member, whether an archive may be extracted below one directory.
//
// Rules. A member below an earlier member that is not a directory (a symlink above all) is refused:
// nothing is ever followed. Two members of one name: the last one wins, but a non-empty directory
// is not replaced by something else. A hard link needs an earlier member of its target's name that
// is not a directory. A symlink must stay inside: its target is resolved lexically from its own
// directory and may not climb above the top; where a target goes down and up again ("a/../b"),
// nothing on the way down may be a symlink, before or after, so that lexical and real resolution
// agree; a hard link to a symlink must be beside it. Directories that exist before are the caller's
// to check. Holds a keyed 120-bit hash of each name, not the name: at most 46 bytes each (70 for
// the moment in which the table doubles), bounded by Limits::members_max. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "archive/member.h"
#include "archive/options.h"
#include "base/status.h"

namespace tarn::archive {

class Validator {
 public:
  enum class Verdict {
    kNew,       ///< the first of its name
    kReplaces,  ///< takes the place of an earlier member
    kSame,      ///< a hard link to itself: nothing to do
  };

  explicit Validator(const Options& options);

  /// Takes note of `member` (normalised path, link_target). InvalidArgument names the rule that it
  /// breaks; FileTooLarge beyond members_max names (directories that are only implied count too).
  Result<Verdict> add(const Member& member);

  /// Names held, implied directories included.
  uint64_t names() const { return names_; }
  /// Memory of the table of names.
  uint64_t memory_bytes() const { return slots_.size() * sizeof(Slot); }

 private:
  struct Hash {
    uint64_t high = 0, low = 0;  // the low 8 bits of `low` are free for a Slot's tag
    bool operator==(const Hash&) const = default;
  };
  struct HashOfHash {
    size_t operator()(const Hash& hash) const { return static_cast<size_t>(hash.high); }
  };
  struct Slot {
    uint64_t high = 0, low_and_tag = 0;
  };

  Hash child_hash(const Hash& parent, std::string_view segment) const;
  Hash path_hash(std::string_view path) const;
  Slot* find(const Hash& hash);
  Result<Slot*> insert(const Hash& hash, uint8_t tag);
  void grow();
  Result<Hash> enter_parents(std::string_view path);
  Result<MemberType> hardlink_type(const Member& member, const Hash& own);
  Status check_symlink(const Member& member, const Hash& own);
  Status note_crossing(const Member& member, const Hash& crossed, const Hash& own);

  Options options_;
  std::array<uint64_t, 2> key_;
  std::vector<Slot> slots_;
  uint64_t names_ = 0;
  std::unordered_set<Hash, HashOfHash> crossed_;  // must never become symlinks
  std::string last_parent_;
  Hash last_parent_hash_;
  bool has_last_parent_ = false;
};

}  // namespace tarn::archive
