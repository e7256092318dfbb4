#include "archive/validator.h"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "archive/path.h"
#include "base/check.h"

namespace tarn::archive {
namespace {

constexpr uint8_t kTypeMask = 0x07, kHasChildren = 0x08, kUsed = 0x80;
constexpr uint64_t kTagMask = 0xff;
constexpr size_t kSlotsMin = 64;

uint8_t tag_of(MemberType type) {
  return static_cast<uint8_t>(kUsed | static_cast<uint8_t>(type));
}
MemberType type_of(uint64_t tag) {
  return static_cast<MemberType>(tag & kTypeMask);
}

/// SipHash-1-3 with a 128-bit result (Aumasson and Bernstein): the key keeps an archive from
/// choosing names that collide.
class SipHash {
 public:
  explicit SipHash(const std::array<uint64_t, 2>& key)
      : v_{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee,
           key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573} {}
  void word(uint64_t m) {
    v_[3] ^= m;
    round();
    v_[0] ^= m;
  }
  void bytes(std::string_view text) {
    const size_t length = text.size();
    for (; text.size() >= 8; text.remove_prefix(8)) {
      uint64_t m;
      std::memcpy(&m, text.data(), 8);
      word(m);
    }
    uint64_t last = static_cast<uint64_t>(length) << 56;
    for (size_t i = 0; i < text.size(); ++i)
      last |= static_cast<uint64_t>(static_cast<unsigned char>(text[i])) << (8 * i);
    word(last);
  }
  std::array<uint64_t, 2> finish() {
    v_[2] ^= 0xee;
    for (int i = 0; i < 3; ++i) round();
    const uint64_t high = v_[0] ^ v_[1] ^ v_[2] ^ v_[3];
    v_[1] ^= 0xdd;
    for (int i = 0; i < 3; ++i) round();
    return {high, v_[0] ^ v_[1] ^ v_[2] ^ v_[3]};
  }

 private:
  void round() {
    v_[0] += v_[1], v_[1] = std::rotl(v_[1], 13) ^ v_[0], v_[0] = std::rotl(v_[0], 32);
    v_[2] += v_[3], v_[3] = std::rotl(v_[3], 16) ^ v_[2];
    v_[0] += v_[3], v_[3] = std::rotl(v_[3], 21) ^ v_[0];
    v_[2] += v_[1], v_[1] = std::rotl(v_[1], 17) ^ v_[2], v_[2] = std::rotl(v_[2], 32);
  }
  std::array<uint64_t, 4> v_;
};

/// Calls `visit(segment)` for each segment of `path` until one is not Ok.
template <class Visit>
Status for_each_segment(std::string_view path, Visit visit) {
  for (size_t begin = 0; begin < path.size();) {
    size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    if (end > begin) TARN_TRY(visit(path.substr(begin, end - begin)));
    begin = end + 1;
  }
  return {};
}

Status refuse(const Member& member, std::string_view why) {
  return {Code::kInvalidArgument,
          fmt::format("{} '{}' {}", member_type_name(member.type), printable(member.path), why)};
}

}  // namespace

Validator::Validator(const Options& options) : options_(options), slots_(kSlotsMin) {
  // getrandom cannot fail for 16 bytes once the pool is ready, and waits until it is.
  CHECK(::getrandom(key_.data(), sizeof key_, 0) == static_cast<ssize_t>(sizeof key_));
}

Validator::Hash Validator::child_hash(const Hash& parent, std::string_view segment) const {
  SipHash hash(key_);
  hash.word(parent.high);
  hash.word(parent.low);
  hash.bytes(segment);
  const auto digest = hash.finish();
  return {digest[0], digest[1] & ~kTagMask};
}

Validator::Hash Validator::path_hash(std::string_view path) const {
  Hash hash;
  (void)for_each_segment(path, [&](std::string_view segment) {
    hash = child_hash(hash, segment);
    return Status();
  });
  return hash;
}

Validator::Slot* Validator::find(const Hash& hash) {
  for (size_t i = hash.high & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
    Slot& slot = slots_[i];
    if (slot.low_and_tag == 0) return nullptr;
    if (slot.high == hash.high && (slot.low_and_tag & ~kTagMask) == hash.low) return &slot;
  }
}

Result<Validator::Slot*> Validator::insert(const Hash& hash, uint8_t tag) {
  if (names_ >= options_.limits.members_max)
    return {Code::kFileTooLarge,
            fmt::format("the archive has more than {} names", options_.limits.members_max)};
  if (names_ + 1 > slots_.size() / 10 * 7) grow();
  ++names_;
  size_t i = hash.high & (slots_.size() - 1);
  while (slots_[i].low_and_tag != 0) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {hash.high, hash.low | tag};
  return &slots_[i];
}

void Validator::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.low_and_tag == 0) continue;
    size_t i = slot.high & (slots_.size() - 1);
    while (slots_[i].low_and_tag != 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = slot;
  }
}

/// Makes sure that every directory above `path` is one; returns the hash of the nearest.
Result<Validator::Hash> Validator::enter_parents(std::string_view path) {
  const std::string_view parent = parent_path(path);
  // A directory with children is never replaced, so a parent that was good for the last member
  // still is.
  if (has_last_parent_ && parent == last_parent_) return last_parent_hash_;
  Hash hash;
  TARN_TRY(for_each_segment(parent, [&](std::string_view segment) -> Status {
    hash = child_hash(hash, segment);
    Slot* slot = find(hash);
    if (slot == nullptr) {
      TARN_ASSIGN(slot, insert(hash, tag_of(MemberType::kDirectory)));
    }
    const MemberType type = type_of(slot->low_and_tag);
    if (type != MemberType::kDirectory) {
      const auto end = static_cast<size_t>(segment.data() + segment.size() - path.data());
      return {Code::kInvalidArgument,
              fmt::format("'{}' lies below '{}', which is a {} in this archive", printable(path),
                          printable(path.substr(0, end)), member_type_name(type))};
    }
    slot->low_and_tag |= kHasChildren;
    return {};
  }));
  last_parent_.assign(parent);
  last_parent_hash_ = hash;
  has_last_parent_ = true;
  return hash;
}

/// What a hard link becomes: the type of its target, an earlier member.
Result<MemberType> Validator::hardlink_type(const Member& member, const Hash& own) {
  const Slot* target = find(path_hash(member.link_target));
  const std::string shown = printable(member.link_target);
  if (target == nullptr)
    return refuse(member, fmt::format("links to '{}', which is no earlier member", shown));
  const MemberType type = type_of(target->low_and_tag);
  if (type == MemberType::kDirectory)
    return refuse(member, fmt::format("links to '{}', which is a directory", shown));
  if (type == MemberType::kSymlink && !options_.allow_external_symlinks) {
    // Elsewhere the same relative target means another place; and it must not be crossed either.
    if (parent_path(member.path) != parent_path(member.link_target) || crossed_.contains(own))
      return refuse(member,
                    fmt::format("links to the symbolic link '{}' from another directory; allow "
                                "external symlinks to extract it",
                                shown));
  }
  return type;
}

Status Validator::note_crossing(const Member& member, const Hash& crossed, const Hash& own) {
  const Slot* slot = find(crossed);
  const bool is_symlink = slot != nullptr && type_of(slot->low_and_tag) == MemberType::kSymlink;
  if (is_symlink || crossed == own)
    return refuse(member,
                  fmt::format("points to '{}', which climbs up ('..') from below a symbolic link; "
                              "allow external symlinks to extract it",
                              printable(member.link_target)));
  if (crossed_.size() >= options_.limits.members_max)
    return {Code::kFileTooLarge, "too many symbolic links with '..' inside their targets"};
  crossed_.insert(crossed);
  return {};
}

Status Validator::check_symlink(const Member& member, const Hash& own) {
  if (options_.allow_external_symlinks) return {};
  const auto outside = [&] {
    return refuse(member, fmt::format("points out of the target directory: '{}'; allow external "
                                      "symlinks to extract it",
                                      printable(member.link_target)));
  };
  if (member.link_target.starts_with('/')) return outside();
  if (crossed_.contains(own))
    return refuse(member,
                  "is a symbolic link, but an earlier link's target climbs up ('..') from "
                  "below it; allow external symlinks to extract it");
  // The stack holds where the walk stands.
  std::vector<Hash> stack;
  (void)for_each_segment(parent_path(member.path), [&](std::string_view segment) {
    stack.push_back(child_hash(stack.empty() ? Hash() : stack.back(), segment));
    return Status();
  });
  size_t noted = stack.size();  // entries below this index are parents or already noted
  return for_each_segment(member.link_target, [&](std::string_view segment) -> Status {
    if (segment == ".") return {};
    if (segment != "..") {
      stack.push_back(child_hash(stack.empty() ? Hash() : stack.back(), segment));
      return {};
    }
    if (stack.empty()) return outside();
    for (; noted < stack.size(); ++noted) TARN_TRY(note_crossing(member, stack[noted], own));
    stack.pop_back();
    noted = std::min(noted, stack.size());
    return {};
  });
}

Result<Validator::Verdict> Validator::add(const Member& member) {
  if (member.path.empty()) {
    if (member.type != MemberType::kDirectory) return refuse(member, "has an empty name");
    return Verdict::kReplaces;
  }
  TARN_ASSIGN(const Hash parent, enter_parents(member.path));
  const size_t slash = member.path.rfind('/');
  const Hash own = child_hash(
      parent, std::string_view(member.path).substr(slash == std::string::npos ? 0 : slash + 1));
  MemberType type = member.type;
  if (type == MemberType::kHardlink) {
    TARN_ASSIGN(type, hardlink_type(member, own));
    if (member.link_target == member.path) return Verdict::kSame;
  }
  if (member.type == MemberType::kSymlink) TARN_TRY(check_symlink(member, own));
  Slot* slot = find(own);
  if (slot == nullptr) {
    TARN_TRY(insert(own, tag_of(type)));
    return Verdict::kNew;
  }
  const bool was_directory = type_of(slot->low_and_tag) == MemberType::kDirectory;
  if (was_directory && member.type == MemberType::kDirectory) return Verdict::kReplaces;
  if (was_directory && (slot->low_and_tag & kHasChildren) != 0)
    return refuse(member, "would replace a directory that has members");
  slot->low_and_tag = (slot->low_and_tag & ~kTagMask) | tag_of(type);
  return Verdict::kReplaces;
}

}  // namespace tarn::archive
