// SettleItem: one closed file while its batch is being settled.
//
// Plain value of the thread that runs the barrier.
#pragma once

#include <optional>
#include <string>

#include "content/content_impl.h"

namespace tarn::content {

struct SettleItem {
  TicketImplRef ticket;
  meta::InodeRow row;  // as read when the batch began
  Descriptor old;      // its content
  FileStat stat;
  LocalBlobRef backing;
  std::shared_ptr<OverlayFile> overlay;  // only while base bytes are still needed

  enum class Way : uint8_t {
    kUnchanged,  // nothing was written: back to settled as it was
    kEmpty,
    kPacked,
    kBlob,    // its own blob, named
    kPieces,  // an overlay that still needs its base
  };
  Way way = Way::kBlob;
  bool is_replacing = false;  // the row holds another settled content, which this one replaces
  std::string bytes;          // kPacked
  Descriptor settled;
  meta::Digests digests;

  std::optional<Result<meta::InodeRow>> result;  // set: it takes no further part
  bool may_try_again = false;
  meta::InodeRow written;  // by the last run of the transaction
  Status write_status;

  bool is_live() const { return !result.has_value(); }
  void fail(Status status) { result = Result<meta::InodeRow>(std::move(status)); }
  Generation new_generation() {
    const bool is_kept = ticket->closed().is_new || way == Way::kUnchanged;
    return is_kept ? row.generation : Generation(row.generation.value + 1);
  }
};

}  // namespace tarn::content
