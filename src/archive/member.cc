#include "archive/member.h"

namespace tarn::archive {

std::string_view member_type_name(MemberType type) {
  switch (type) {
    case MemberType::kFile:
      return "file";
    case MemberType::kDirectory:
      return "directory";
    case MemberType::kSymlink:
      return "symbolic link";
    case MemberType::kHardlink:
      return "hard link";
    case MemberType::kCharDevice:
      return "character device";
    case MemberType::kBlockDevice:
      return "block device";
    case MemberType::kFifo:
      return "fifo";
  }
  return "unknown";
}

}  // namespace tarn::archive
