// The kinds of File, one source file each, and the functions that make them.
//
//   file_memory.cc   empty and inline: bytes at hand, then zeros; read-only
//   file_slice.cc    a range of a blob or pack; read-only; a pack record's CRC is checked at the
//   first
//                    read of it
//   file_blob.cc     a whole local file; read-only or for writing
//   file_pieces.cc   pieces, read-only; or an older content with a private blob over it, copied on
//                    write in units of limits::kPieceBytes
//
// Thread-safe as File says.
#pragma once

#include <memory>

#include "content/content.h"
#include "content/sources.h"

namespace tarn::content {

/// Size, blocks and times as the row has them.
FileStat stat_of_row(const meta::InodeRow& row);

/// `head`, then zeros up to stat.size.
FileRef make_memory_file(std::string head, FileStat stat, Descriptor descriptor);
/// kDataLoss when the blob or pack is missing.
Result<FileRef> make_slice_file(SourcesRef sources, const Slice& slice, FileStat stat);
/// `descriptor` is what it answers as its own.
FileRef make_blob_file(SourcesRef sources, LocalBlobRef blob, bool is_writable,
                       Descriptor descriptor);
FileRef make_pieces_file(SourcesRef sources, const Pieces& pieces, FileStat stat);

/// The older bytes under an overlay, as pieces.
Result<Pieces> flatten(const Descriptor& base, uint64_t size);

/// An Overlay open for writing. `own` holds the bytes written; which units, is read from its holes,
/// so that a file reopened after a crash is the same. kPieces plans use it.
class OverlayFile : public File {
 public:
  /// Prepares a fresh blob to lie over `base_size` bytes: size and attribute.
  static Status prepare(const LocalBlob& own, uint64_t base_size);
  static Result<std::shared_ptr<OverlayFile>> open(SourcesRef sources, std::string base,
                                                   uint64_t base_size, LocalBlobRef own);
  virtual LocalBlobRef own() const = 0;
  /// No base byte is needed any more: the blob alone is the file.
  virtual bool is_whole() const = 0;
  /// Pieces of base and blob that are the file's bytes now.
  virtual Pieces settled() const = 0;
};

/// The blob behind a writable or whole-blob File; null for others.
LocalBlobRef backing_of(const FileRef& file);

}  // namespace tarn::content
