#include "kv/faults.h"

#include <fmt/format.h>

#include "base/mutex.h"

namespace tarn::kv {
namespace {

/// What can be made to fail.
enum class Call { kCheckedCommit, kWritingCommit, kRead, kSync };

bool matches(Fault fault, Call call) {
  switch (fault) {
    case Fault::kNone:
      return false;
    case Fault::kConflict:
      return call == Call::kCheckedCommit || call == Call::kWritingCommit;
    case Fault::kUnknownApplied:
    case Fault::kUnknownNotApplied:
    case Fault::kDiskErrorOnCommit:
    case Fault::kNoSpaceOnCommit:
      return call == Call::kWritingCommit;
    case Fault::kDiskErrorOnRead:
      return call == Call::kRead;
    case Fault::kDiskErrorOnSync:
      return call == Call::kSync;
  }
  return false;
}

class FaultStoreImpl final : public FaultStore {
 public:
  explicit FaultStoreImpl(std::unique_ptr<Store> inner) : inner_(std::move(inner)) {}

  void arm(Fault fault, int nth, bool is_sticky) override {
    CHECK(nth >= 1, fmt::format("a fault cannot fire on call {}; the next call is 1", nth));
    MutexLock lock(mutex_);
    fault_ = fault;
    calls_left_ = nth;
    is_sticky_ = is_sticky;
  }
  void disarm() override { arm(Fault::kNone, 1, false); }
  uint64_t fired() const override {
    MutexLock lock(mutex_);
    return fired_;
  }

  std::unique_ptr<Transaction> begin() override;
  Status sync(Stamp stamp) override {
    if (next(Call::kSync) != Fault::kNone) return Status(Code::kIo, "injected fault: sync failed");
    return inner_->sync(stamp);
  }
  Stamp head() override { return inner_->head(); }
  Status read_log(Stamp after, const std::function<bool(const LogEntry&)>& visitor) override {
    return inner_->read_log(after, visitor);
  }
  Status trim_log(Stamp through) override { return inner_->trim_log(through); }
  Statistics statistics() override { return inner_->statistics(); }
  std::string_view engine() const override { return inner_->engine(); }
  Status settle() override { return inner_->settle(); }

  /// The fault that this call is to suffer; kNone for most.
  Fault next(Call call) {
    MutexLock lock(mutex_);
    if (!matches(fault_, call)) return Fault::kNone;
    if (calls_left_ > 1) {
      --calls_left_;
      return Fault::kNone;
    }
    ++fired_;
    const Fault fault = fault_;
    if (!is_sticky_) fault_ = Fault::kNone;
    return fault;
  }

 private:
  const std::unique_ptr<Store> inner_;
  mutable Mutex mutex_{"kv.faults", 190};
  Fault fault_ = Fault::kNone;
  int calls_left_ = 0;
  bool is_sticky_ = false;
  uint64_t fired_ = 0;
};

class FaultTransaction final : public Transaction {
 public:
  FaultTransaction(FaultStoreImpl& store, std::unique_ptr<Transaction> inner)
      : store_(store), inner_(std::move(inner)) {}

  Result<std::optional<std::string>> get(std::string_view key) override {
    TARN_TRY(before_read());
    return inner_->get(key);
  }
  Result<std::optional<std::string>> get_tracked(std::string_view key) override {
    is_checked_ = true;
    TARN_TRY(before_read());
    return inner_->get_tracked(key);
  }
  Result<Linked> get_linked(std::string_view key, const Link& link) override {
    TARN_TRY(before_read());
    return inner_->get_linked(key, link);
  }
  Status scan(const Range& range, const Visitor& visitor) override {
    TARN_TRY(before_read());
    return inner_->scan(range, visitor);
  }

  void put(std::string_view key, std::string_view value) override { writing().put(key, value); }
  void erase(std::string_view key) override { writing().erase(key); }
  void put_blind(std::string_view key, std::string_view value) override {
    writing().put_blind(key, value);
  }
  void erase_blind(std::string_view key) override { writing().erase_blind(key); }
  void merge(std::string_view key, std::string_view operand) override {
    writing().merge(key, operand);
  }
  void append_log(std::string_view record) override { writing().append_log(record); }

  Result<Stamp> commit() override {
    Fault fault = Fault::kNone;
    if (is_writing_) {
      fault = store_.next(Call::kWritingCommit);
    } else if (is_checked_) {
      fault = store_.next(Call::kCheckedCommit);
    }
    if (fault == Fault::kNone) return inner_->commit();
    if (fault == Fault::kUnknownApplied) {
      TARN_TRY(inner_->commit());
      return Status(Code::kUnknownOutcome, "injected fault: the commit's answer was lost");
    }
    inner_.reset();
    switch (fault) {
      case Fault::kConflict:
        return Status(Code::kConflict, "injected fault: conflict");
      case Fault::kUnknownNotApplied:
        return Status(Code::kUnknownOutcome, "injected fault: the commit was lost");
      case Fault::kNoSpaceOnCommit:
        return Status(Code::kNoSpace, "injected fault: no space on the disk");
      default:
        return Status(Code::kIo, "injected fault: commit failed");
    }
  }

 private:
  Status before_read() {
    if (store_.next(Call::kRead) == Fault::kNone) return {};
    return Status(Code::kIo, "injected fault: read failed");
  }
  Transaction& writing() {
    is_writing_ = true;
    return *inner_;
  }

  FaultStoreImpl& store_;
  std::unique_ptr<Transaction> inner_;
  bool is_writing_ = false;
  bool is_checked_ = false;
};

std::unique_ptr<Transaction> FaultStoreImpl::begin() {
  return std::make_unique<FaultTransaction>(*this, inner_->begin());
}

}  // namespace

std::unique_ptr<FaultStore> FaultStore::wrap(std::unique_ptr<Store> inner) {
  return std::make_unique<FaultStoreImpl>(std::move(inner));
}

}  // namespace tarn::kv
