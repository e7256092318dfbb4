#include <fmt/format.h>

#include "meta/ops/support.h"

namespace tarn::meta {
namespace {

struct Place {
  std::optional<Found> replaced;
  bool is_hidden = false;
};

Result<Place> find_place(kv::Transaction& txn, Ino parent, std::string_view name, bool may_replace,
                         Twin twin) {
  TARN_ASSIGN(auto own, get_found(txn, parent, key_name_of(name, false)));
  TARN_ASSIGN(auto directory, get_entry(txn, parent, key_name_of(name, true), Tracking::kTracked));
  if (directory && twin == Twin::kRefuse) {
    return may_replace
               ? Status{Code::kIsDirectory,
                        fmt::format("'{}' in directory {} is a directory", name, parent.value)}
               : Status{Code::kExists,
                        fmt::format("directory {} has an entry '{}' already", parent.value, name)};
  }
  if (own && !may_replace) {
    return Status{Code::kExists,
                  fmt::format("directory {} has an entry '{}' already", parent.value, name)};
  }
  return Place{.replaced = std::move(own), .is_hidden = directory.has_value()};
}

}  // namespace

Result<Renamed> place(kv::Transaction& txn, const Context& context, Ino ino, Ino parent,
                      std::string_view name, bool may_replace, Twin twin) {
  TARN_TRY(check_name(name));
  TARN_ASSIGN(InodeRow row, get_inode(txn, ino));
  if (row.is_directory() || row.nlink != 0) {
    return Status{Code::kNotFound, fmt::format("inode {} is not one without a name", ino.value)};
  }
  TARN_TRY(admit(txn, parent));
  TARN_ASSIGN(Place place, find_place(txn, parent, name, may_replace, twin));
  Renamed renamed;
  if (place.replaced) {
    TARN_TRY(drop_link(txn, context, place.replaced->inode));
    renamed.replaced = std::move(place.replaced->inode);
  }
  row.nlink = 1;
  row.is_linked = false;
  row.is_hidden = place.is_hidden;
  row.parent = parent;
  row.name = name;
  row.ctime = context.now;
  put_file(txn, row);
  txn.erase_blind(ino_key(Prefix::kUnlinked, ino));
  merge_directory(txn, parent, entries_changed(context, renamed.replaced ? 0 : 1, 0));
  ChangeRecord record = change_of(context, ChangeKind::kRename, row);
  record.parent_after = parent;
  record.name_after = name;
  if (renamed.replaced) record.replaced = renamed.replaced->ino;
  append(txn, record);
  renamed.moved = std::move(row);
  return renamed;
}

}  // namespace tarn::meta
