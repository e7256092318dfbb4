#include "dataset/pickle_writer.h"

namespace tarn::dataset {
namespace {

using namespace std::string_view_literals;

class PickleWriter {
 public:
  explicit PickleWriter(size_t bytes_expected) {
    out_.reserve(bytes_expected);
    raw("\x80\x02"sv);
  }

  void raw(std::string_view bytes) { out_.append(bytes); }
  void memoize() {
    ++memo_;
    if (memo_ < 256) {
      raw("q"sv);
      little(memo_, 1);
    } else {
      raw("r"sv);
      little(memo_, 4);
    }
  }
  void string(std::string_view value) {
    string_header(value.size());
    raw(value);
    memoize();
  }
  void integer(uint64_t value) {
    if (value < 256) {
      raw("K"sv);
      little(value, 1);
    } else if (value < 65536) {
      raw("M"sv);
      little(value, 2);
    } else {
      raw("J"sv);
      little(value, 4);
    }
  }
  /// A list; `write(i)` writes its items.
  template <class Write>
  void list(size_t count, const Write& write) {
    constexpr size_t kGroup = 1000;
    raw("]"sv);
    memoize();
    for (size_t begin = 0; begin < count; begin += kGroup) {
      raw("("sv);
      for (size_t i = begin; i < count && i < begin + kGroup; ++i) write(i);
      raw("e"sv);
    }
  }
  /// A global of numpy, with its memo entry.
  void global(std::string_view module, std::string_view name) {
    raw("c"sv);
    raw(module);
    raw("\n"sv);
    raw(name);
    raw("\n"sv);
    memoize();
  }
  /// A uint8 array of two dimensions; returns where its bytes stand, to be filled.
  size_t array(uint64_t rows, uint64_t row_bytes) {
    global("numpy.core.multiarray"sv, "_reconstruct"sv);
    global("numpy"sv, "ndarray"sv);
    raw("K\x00\x85U\x01"
        "b\x87R"sv);
    memoize();
    raw("(K\x01"sv);
    integer(rows);
    integer(row_bytes);
    raw("\x86"sv);
    global("numpy"sv, "dtype"sv);
    raw("U\x02u1K\x00K\x01\x87R"sv);
    memoize();
    raw("(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"sv);
    string_header(rows * row_bytes);
    const size_t at = out_.size();
    out_.resize(at + rows * row_bytes);
    raw("tb"sv);
    return at;
  }
  std::span<std::byte> part(size_t at, size_t length) {
    return std::as_writable_bytes(std::span(out_)).subspan(at, length);
  }
  std::string take() { return std::move(out_); }

 private:
  void little(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>(value >> 8 * i));
  }
  void string_header(uint64_t length) {
    raw(length < 256 ? "U"sv : "T"sv);
    little(length, length < 256 ? 1 : 4);
  }

  std::string out_;
  uint64_t memo_ = 0;
};

}  // namespace

std::string pickle_batch(const BatchContent& content) {
  const size_t rows = content.labels.size();
  PickleWriter out(rows * (content.row_bytes + 64) + 4096);
  out.raw("}"sv);
  out.memoize();
  out.raw("("sv);
  out.string("batch_label"sv);
  out.string(content.batch_label);
  out.string("labels"sv);
  out.list(rows, [&](size_t i) { out.integer(content.labels[i]); });
  out.string("data"sv);
  const size_t at = out.array(rows, content.row_bytes);
  content.fill_rows(out.part(at, rows * content.row_bytes));
  out.string("filenames"sv);
  out.list(rows, [&](size_t i) { out.string(content.filenames[i]); });
  out.raw("u."sv);
  return out.take();
}

std::string pickle_meta(uint64_t cases_per_batch, std::span<const std::string_view> label_names,
                        uint64_t num_vis) {
  PickleWriter out(4096);
  out.raw("}"sv);
  out.memoize();
  out.raw("("sv);
  out.string("num_cases_per_batch"sv);
  out.integer(cases_per_batch);
  out.string("label_names"sv);
  out.list(label_names.size(), [&](size_t i) { out.string(label_names[i]); });
  out.string("num_vis"sv);
  out.integer(num_vis);
  out.raw("u."sv);
  return out.take();
}

}  // namespace tarn::dataset
