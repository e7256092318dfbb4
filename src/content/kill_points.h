// The points of this room at which the crash tests kill the process (base/kill_point.h).
//
//   content.name.before_link         an unnamed file is about to get its name
//   content.name.after_link          it has its name, which is not synced yet
//   content.settle.before_pack_write the batch is read, nothing written
//   content.settle.after_pack_write  small files lie in a pack, not synced
//   content.settle.after_sync        packs, blobs and names are synced, rows still say `open`
//   content.settle.after_commit      rows say `settled`, the store is not synced
//   content.barrier.after_sync       the store is synced, released blobs are still there
//   content.collect.after_unlink     a released blob is gone, its row in the list of released ones
//   is not content.fold.before_commit       owners of pack records are about to be folded
//   content.pack.after_create        a new pack exists that no row names
//   content.merge.before_commit      pieces are copied into a blob, the row still names the pieces
//   content.overlay.before_unit      a unit of an older blob is about to be copied for writing
//   content.recover.middle           after each row that recovery has looked at
#pragma once

#include "base/kill_point.h"
