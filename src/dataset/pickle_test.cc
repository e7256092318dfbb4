#include "dataset/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fmt/format.h>

#include "base/file.h"
#include "dataset/test_support.h"

namespace tarn::dataset {
namespace {

using ::testing::HasSubstr;

/// Keeps the input beside the document that refers to it.
struct Parsed {
  std::string bytes;
  Result<Document> document;
  explicit Parsed(std::string input, const PickleLimits& limits = {})
      : bytes(std::move(input)), document(parse_pickle(as_bytes(bytes), limits)) {}
  const Value& root() { return document.value().root(); }
  std::string message() const { return std::string(document.status().message()); }
};

/// The value as Python's repr prints it, floats and strings in short.
std::string show(const Value& value) {
  const auto list = [](const Value& container) {
    std::string out;
    for (const Value* item : container.items()) out += (out.empty() ? "" : ", ") + show(*item);
    return out;
  };
  if (value.get_if<None>()) return "None";
  if (const auto* held = value.get_if<bool>()) return *held ? "True" : "False";
  if (const auto* held = value.get_if<int64_t>()) return fmt::format("{}", *held);
  if (const auto* held = value.get_if<double>()) return fmt::format("{}", *held);
  if (const auto* held = value.get_if<Text>()) return fmt::format("'{}'", held->utf8);
  if (const auto* held = value.get_if<Bytes>()) return fmt::format("b'{}'", held->view);
  if (value.get_if<List>()) return "[" + list(value) + "]";
  if (value.get_if<Tuple>()) return "(" + list(value) + ")";
  if (value.get_if<Set>()) return "{" + list(value) + "}";
  if (const auto* dict = value.get_if<Dict>()) {
    std::string out;
    for (const auto& [key, item] : dict->items) {
      out += (out.empty() ? "" : ", ") + show(*key) + ": " + show(*item);
    }
    return "{" + out + "}";
  }
  return std::string(value.type_name());
}

std::string parse_and_show(std::string bytes) {
  Parsed parsed(std::move(bytes));
  return parsed.document.is_ok() ? show(parsed.root()) : parsed.message();
}

TEST(Pickle, NumbersOfEveryOpcode) {
  EXPECT_EQ(parse_and_show(literal("K\xff.")), "255");
  EXPECT_EQ(parse_and_show(literal("M\x01\x80.")), "32769");
  EXPECT_EQ(parse_and_show(literal("J\xff\xff\xff\xff.")), "-1");
  EXPECT_EQ(parse_and_show(literal("\x8a\x00.")), "0");
  EXPECT_EQ(parse_and_show(literal("\x8a\x02\x00\xff.")), "-256");
  EXPECT_EQ(parse_and_show(literal("\x8b\x04\x00\x00\x00\x01\x00\x00\x80.")), "-2147483647");
  EXPECT_EQ(parse_and_show("I-17\n."), "-17");
  EXPECT_EQ(parse_and_show("I01\n."), "True");
  EXPECT_EQ(parse_and_show("L123456789012L\n."), "123456789012");
  EXPECT_EQ(parse_and_show("F1.5\n."), "1.5");
  EXPECT_EQ(parse_and_show(literal("G\xbf\xf0\x00\x00\x00\x00\x00\x00.")), "-1");
  EXPECT_EQ(parse_and_show("(N\x88\x89t."), "(None, True, False)");
  EXPECT_THAT(parse_and_show(literal("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.")),
              HasSubstr("an integer of 9 bytes"));
}

TEST(Pickle, StringsOfEveryOpcode) {
  EXPECT_EQ(parse_and_show(literal("U\x02"
                                   "ab.")),
            "b'ab'");
  EXPECT_EQ(parse_and_show(literal("T\x02\x00\x00\x00"
                                   "ab.")),
            "b'ab'");
  EXPECT_EQ(parse_and_show(literal("C\x02"
                                   "ab.")),
            "b'ab'");
  EXPECT_EQ(parse_and_show(literal("B\x02\x00\x00\x00"
                                   "ab.")),
            "b'ab'");
  EXPECT_EQ(parse_and_show(literal("\x8e\x02\0\0\0\0\0\0\0"
                                   "ab.")),
            "b'ab'");
  EXPECT_EQ(parse_and_show(literal("\x96\x02\0\0\0\0\0\0\0"
                                   "ab.")),
            "b'ab'");
  EXPECT_EQ(parse_and_show(literal("\x8c\x02"
                                   "ab.")),
            "'ab'");
  EXPECT_EQ(parse_and_show(literal("X\x02\x00\x00\x00"
                                   "ab.")),
            "'ab'");
  EXPECT_EQ(parse_and_show(literal("\x8d\x02\0\0\0\0\0\0\0"
                                   "ab.")),
            "'ab'");
  EXPECT_EQ(parse_and_show("S'a\\n\\x41\\''\n."), "b'a\nA''");
  EXPECT_EQ(parse_and_show("Va\\u00e4\xe4\n."), "'a\u00e4\u00e4'");
}

TEST(Pickle, ContainersAndTheMemo) {
  EXPECT_THAT(parse_and_show("]q\x01(K\x01K\x02"
                             "ea."),
              HasSubstr("byte 9: the stack is empty"));
  EXPECT_EQ(parse_and_show("](K\x01K\x02"
                           "eK\x03"
                           "a."),
            "[1, 2, 3]");
  EXPECT_EQ(parse_and_show("(K\x01K\x02l."), "[1, 2]");
  EXPECT_EQ(parse_and_show("(K\x01K\x02"
                           "d."),
            "{1: 2}");
  EXPECT_EQ(parse_and_show("}(K\x01K\x02K\x03K\x04uK\x05K\x06s."), "{1: 2, 3: 4, 5: 6}");
  EXPECT_EQ(parse_and_show("K\x01K\x02K\x03\x87\x85."), "((1, 2, 3))");
  EXPECT_EQ(parse_and_show("\x8f(K\x01K\x02\x90."), "{1, 2}");
  EXPECT_EQ(parse_and_show("(K\x01K\x02\x91."), "{1, 2}");
  EXPECT_EQ(parse_and_show(literal("U\x01"
                                   "a\x94h\x00\x86.")),
            "(b'a', b'a')");
  EXPECT_EQ(parse_and_show(literal("Np7\n0K\x01q\x08"
                                   "0g7\nj\x08\0\0\0\x86.")),
            "(None, 1)");
  EXPECT_EQ(parse_and_show("(N1N2\x86."), "(None, None)");
}

TEST(Pickle, DictFindsTextAndBytesAndTheLaterOfTwo) {
  Parsed parsed(
      literal("}(U\x01"
              "aK\x01X\x01\0\0\0bK\x02U\x01"
              "aK\x03u."));
  const Dict* dict = parsed.root().get_if<Dict>();
  ASSERT_NE(dict, nullptr);
  EXPECT_EQ(dict->find("a")->integer(), 3);
  EXPECT_EQ(dict->find("b")->integer(), 2);
  EXPECT_EQ(dict->find("c"), nullptr);
}

TEST(Pickle, BytesReadEndsAtStop) {
  Parsed parsed(literal("\x80\x02N.rest"));
  EXPECT_EQ(parsed.document->bytes_read(), 4u);
  EXPECT_EQ(parsed.document->protocol(), 2);
}

// --- hostile input

TEST(PickleHostile, GlobalsAreRefusedByName) {
  EXPECT_THAT(parse_and_show("cos\nsystem\n(S'true'\ntR."), HasSubstr("global 'os.system'"));
  EXPECT_THAT(parse_and_show(literal("\x80\x04\x8c\x08"
                                     "builtins\x8c\x04"
                                     "eval\x93.")),
              HasSubstr("global 'builtins.eval' is refused"));
  EXPECT_THAT(parse_and_show("cnumpy\nload\n."), HasSubstr("'numpy.load'"));
  EXPECT_THAT(parse_and_show("c__builtin__\ngetattr\n."), HasSubstr("refused"));
  // The name of an allowed one in another module.
  EXPECT_THAT(parse_and_show("cevil\nndarray\n."), HasSubstr("'evil.ndarray'"));
}

TEST(PickleHostile, OpcodesThatMakeInstancesAreRefused) {
  EXPECT_THAT(parse_and_show("(ios\nsystem\n."), HasSubstr("INST"));
  EXPECT_THAT(parse_and_show("(cnumpy\nndarray\no."), HasSubstr("OBJ"));
  EXPECT_THAT(parse_and_show("cnumpy\nndarray\n)\x81."), HasSubstr("NEWOBJ"));
  EXPECT_THAT(parse_and_show("cnumpy\nndarray\n)}\x92."), HasSubstr("NEWOBJ"));
  EXPECT_THAT(parse_and_show("Pid\n."), HasSubstr("PERSID"));
  EXPECT_THAT(parse_and_show("NQ."), HasSubstr("PERSID"));
  EXPECT_THAT(parse_and_show("\x82\x01."), HasSubstr("EXT"));
  EXPECT_THAT(parse_and_show("\x97."), HasSubstr("NEXT_BUFFER"));
  EXPECT_THAT(parse_and_show("\xff."), HasSubstr("no opcode 0xff"));
  EXPECT_THAT(parse_and_show("}}b."), HasSubstr("a dict is given a state"));
  EXPECT_THAT(parse_and_show("N)R."), HasSubstr("a None is called"));
  EXPECT_THAT(parse_and_show("cnumpy\nndarray\n)R."), HasSubstr("not called with 0 arguments"));
}

TEST(PickleHostile, LengthsThatLie) {
  EXPECT_THAT(parse_and_show(literal("T\xff\xff\xff\x7f"
                                     "ab.")),
              HasSubstr("2147483647 bytes are announced, 3 are left"));
  EXPECT_THAT(parse_and_show(literal("\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
                                     "ab.")),
              HasSubstr("announced"));
  EXPECT_THAT(parse_and_show(literal("\x95\xff\xff\xff\xff\xff\xff\xff\xff"
                                     "N.")),
              HasSubstr("a frame of"));
  EXPECT_THAT(parse_and_show(literal("Nr\xff\xff\xff\xff.")), HasSubstr("memo index 4294967295"));
  EXPECT_THAT(parse_and_show("Np99999999999\n."), HasSubstr("memo index"));
  EXPECT_THAT(parse_and_show("Np-1\n."), HasSubstr("memo index"));
  EXPECT_THAT(parse_and_show("h\x05."), HasSubstr("nothing was memoized as 5"));
}

TEST(PickleHostile, EveryPrefixAndEveryFlippedByteIsAnErrorOrAValue) {
  const std::string good = literal(
      "\x80\x02}q\x01(U\x04"
      "dataq\x02"
      "cnumpy.core.multiarray\n_reconstruct\nq\x03"
      "cnumpy\nndarray\nq\x04K\x00\x85U\x01"
      "b\x87Rq\x05(K\x01K\x02K\x03\x86"
      "cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
      "J\xff\xff\xff\xffK\x00tb\x89U\x06"
      "abcdeftbu.");
  ASSERT_EQ(parse_and_show(good), "{b'data': ndarray}");
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(Parsed(good.substr(0, length)).document.is_ok()) << length;
  }
  uint64_t refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1 << bit);
      if (!Parsed(bad).document.is_ok()) ++refused;
    }
  }
  EXPECT_GT(refused, good.size());
}

TEST(PickleHostile, RingsAndDepth) {
  EXPECT_THAT(parse_and_show(literal("]q\x00h\x00"
                                     "a.")),
              HasSubstr("contains itself"));
  EXPECT_THAT(parse_and_show(literal("]q\x00}K\x01h\x00sa.")), HasSubstr("contains itself"));
  const auto nested = [](size_t depth) {
    std::string out = "N";
    for (size_t i = 0; i < depth; ++i) out += '\x85';
    return out + ".";
  };
  EXPECT_TRUE(Parsed(nested(64)).document.is_ok());
  EXPECT_THAT(parse_and_show(nested(65)), HasSubstr("deeper than 64"));
  // A million levels end in the same message, not in the end of the stack.
  EXPECT_THAT(parse_and_show(nested(1'000'000)), HasSubstr("deeper than 64"));
}

TEST(PickleHostile, SharedListsAreNotCopied) {
  // Thirty lists, each with the one before it ten times: 10^30 items if they were copied.
  std::string laughs = "]q" + std::string(1, '\0') + "0";
  for (int i = 1; i <= 30; ++i) {
    laughs += "](";
    for (int k = 0; k < 10; ++k) laughs += "h" + std::string(1, static_cast<char>(i - 1));
    laughs += "eq" + std::string(1, static_cast<char>(i)) + "0";
  }
  laughs += "h\x1e.";
  EXPECT_TRUE(Parsed(laughs).document.is_ok());
}

TEST(PickleHostile, MemoryIsBounded) {
  PickleLimits limits;
  limits.values_max = 1000;
  EXPECT_THAT(Parsed(std::string(2000, 'N'), limits).message(), HasSubstr("over 1000 values"));
  EXPECT_THAT(Parsed("N" + std::string(2000, '2'), limits).message(), HasSubstr("values"));
  EXPECT_THAT(Parsed(std::string(2000, '('), limits).message(), HasSubstr("values"));
  // A set made again and again from one long list.
  std::string sets = "](" + std::string(500, 'N') + "e\x85q" + std::string(1, '\0') + "0";
  for (int i = 0; i < 10; ++i) sets += literal("c__builtin__\nset\nh\x00R0");
  EXPECT_THAT(Parsed(sets + "N.", limits).message(), HasSubstr("values"));
  // One long text encoded again and again: decoded strings are at most four times the input.
  std::string texts = literal("X\x00\x00\x01\x00") + std::string(65536, 'x') +
                      literal(
                          "X\x06\x00\x00\x00latin1\x86q\x00"
                          "0c_codecs\nencode\nq\x01"
                          "0");
  for (int i = 0; i < 10; ++i) texts += literal("h\x01h\x00R0");
  EXPECT_THAT(Parsed(texts + "N.").message(), HasSubstr("strings decode to over"));
}

TEST(PickleHostile, ArraysThatLie) {
  const auto array = [](const std::string& shape, const std::string& dtype,
                        const std::string& data) {
    return "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" +
           literal(
               "K\x00\x85U\x01"
               "b\x87R(K\x01") +
           shape + "cnumpy\ndtype\n" + literal("U") + static_cast<char>(dtype.size()) + dtype +
           literal("K\x00K\x01\x87R\x89U") + static_cast<char>(data.size()) + data + "tb.";
  };
  EXPECT_EQ(parse_and_show(array("K\x03\x85", "u1", "abc")), "ndarray");
  EXPECT_THAT(parse_and_show(array("K\x04\x85", "u1", "abc")),
              HasSubstr("ask for 4 bytes, its data have 3"));
  EXPECT_THAT(parse_and_show(array("J\xff\xff\xff\xff\x85", "u1", "abc")), HasSubstr("no length"));
  // 2^31 cubed is beyond 64 bits, and a zero does not hide it.
  const std::string huge = literal("J\xff\xff\xff\x7f");
  EXPECT_THAT(parse_and_show(array(huge + huge + huge + "\x87", "f8", "")),
              HasSubstr("2^63 bytes or more"));
  EXPECT_THAT(parse_and_show(array("(" + huge + huge + huge + literal("K\x00t"), "f8", "")),
              HasSubstr("2^63 bytes or more"));
  EXPECT_THAT(parse_and_show(array("K\x01\x85", "O", "abcdefgh")), HasSubstr("type 'O'"));
  EXPECT_THAT(parse_and_show(array("K\x01\x85", "V8", "abcdefgh")), HasSubstr("refused"));
  EXPECT_THAT(parse_and_show(array("K\x01\x85", "i3", "abc")), HasSubstr("no item type"));
  EXPECT_THAT(parse_and_show(array("U\x01x", "u1", "a")), HasSubstr("shape is a bytes"));
}

TEST(PickleHostile, AFewBytesTakeLittleMemory) {
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  for (const char opcode : {'T', 'B', 'X', 'r', 'j', 'U', 'C', '\x8d', '\x8e', '\x96', '\x95'}) {
    for (const char fill : {'\x7f', '\xff', '\0'}) {
      EXPECT_FALSE(Parsed(std::string("N") + opcode + std::string(12, fill)).document.is_ok());
    }
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 16 * 1024) << "KB";
}

// --- what a real Python writes

constexpr const char* kPlainValue =
    "{'n': None, 't': True, 'i': [0, 255, 256, 65536, -1, 2**40, -2**62], 'f': 0.25, "
    "'s': 'a\\u00e4\\u20ac', 'b': b'x\\xff', 'e': b'', 'tu': ((), (1,), (1, 2, 3, 4)), "
    "'l': list(range(1500)), 'set': {7}, 'ba': bytearray(b'xy')}";

class PickleOfProtocol : public ::testing::TestWithParam<int> {};

TEST_P(PickleOfProtocol, PlainValues) {
  if (!has_python("pickle")) GTEST_SKIP() << "no " << kPython;
  Parsed parsed(
      run_python(fmt::format("import pickle, sys\nsys.stdout.buffer.write(pickle.dumps({}, {}))\n",
                             kPlainValue, GetParam())));
  ASSERT_TRUE(parsed.document.is_ok()) << parsed.message();
  const Dict* dict = parsed.root().get_if<Dict>();
  ASSERT_NE(dict, nullptr);
  EXPECT_EQ(show(*dict->find("i")),
            "[0, 255, 256, 65536, -1, 1099511627776, -4611686018427387904]");
  EXPECT_EQ(show(*dict->find("f")), "0.25");
  EXPECT_EQ(show(*dict->find("s")), "'a\u00e4\u20ac'");
  EXPECT_EQ(show(*dict->find("b")), "b'x\xff'");
  EXPECT_EQ(show(*dict->find("e")), "b''");
  EXPECT_EQ(show(*dict->find("ba")), "b'xy'");
  EXPECT_EQ(show(*dict->find("tu")), "((), (1), (1, 2, 3, 4))");
  EXPECT_EQ(show(*dict->find("set")), "{7}");
  EXPECT_EQ(show(*dict->find("n")) + show(*dict->find("t")), "NoneTrue");
  ASSERT_EQ(dict->find("l")->items().size(), 1500u);
  EXPECT_EQ(dict->find("l")->items()[1499]->integer(), 1499);
}

TEST_P(PickleOfProtocol, ArraysOfEveryOrderAndType) {
  if (!has_python("numpy")) GTEST_SKIP() << "no numpy for " << kPython;
  // A first line of "name dtype md5" a value, then the pickle.
  const std::string out = run_python(fmt::format(R"(
import hashlib, numpy, pickle, sys
base = numpy.arange(2 * 3 * 5).reshape(2, 3, 5)
values = {{}}
for code in ('?', 'u1', 'i1', 'u2', '<i4', '>i4', '<u8', '<i8', '<f2', '<f4', '>f8', 'c8', 'S7', 'U4'):
    values['C' + code] = numpy.ascontiguousarray(base.astype(code))
    values['F' + code] = numpy.asfortranarray(base.astype(code))
values['transposed'] = base.T
values['strided'] = base[:, ::2, 1:]
values['flat'] = base.astype('u1').reshape(-1)
values['empty'] = numpy.zeros((3, 0, 2), 'u1')
values['scalarlike'] = numpy.array(7, 'i2')
values['large'] = numpy.asfortranarray(numpy.arange(700 * 3072, dtype='u4').astype('u1').reshape(700, 3072))
for name, a in values.items():
    shape = 'x'.join(map(str, a.shape))
    print(name, str(a.dtype), shape, hashlib.md5(a.tobytes()).hexdigest(), sep='|', end=';')
print(flush=True)
sys.stdout.buffer.write(pickle.dumps(values, {}))
)",
                                                 GetParam()));
  const size_t line = out.find('\n');
  Parsed parsed(out.substr(line + 1));
  ASSERT_TRUE(parsed.document.is_ok()) << parsed.message();
  const Dict* dict = parsed.root().get_if<Dict>();
  std::string found;
  for (const auto& [key, value] : dict->items) {
    const Array* array = value->array();
    ASSERT_NE(array, nullptr) << show(*key);
    found += fmt::format("{}|{}|{}|{};", *key->string(), array->dtype.name(),
                         fmt::join(array->shape, "x"), md5_in_c_order(*array).hex());
    EXPECT_EQ(digest::md5(copy_in_c_order(*array)), md5_in_c_order(*array));
  }
  EXPECT_EQ(found, out.substr(0, line));
}

TEST_P(PickleOfProtocol, NumpyScalarsAndOrderedDicts) {
  if (!has_python("numpy")) GTEST_SKIP() << "no numpy for " << kPython;
  EXPECT_EQ(parse_and_show(run_python(fmt::format(R"(
import collections, numpy, pickle, sys
value = collections.OrderedDict([(1, numpy.int16(-2)), (2, numpy.float32(0.5)), (3, numpy.bool_(True)),
                                 (4, numpy.uint64(2**40)), (5, numpy.float64(0.25)), (6, frozenset([8]))])
sys.stdout.buffer.write(pickle.dumps(value, {}))
)",
                                                  GetParam()))),
            "{1: -2, 2: 0.5, 3: True, 4: 1099511627776, 5: 0.25, 6: {8}}");
}

INSTANTIATE_TEST_SUITE_P(All, PickleOfProtocol, ::testing::Values(0, 1, 2, 3, 4, 5));

TEST(Pickle, ArrayDataAreViewsOfTheInput) {
  if (!has_python("numpy")) GTEST_SKIP() << "no numpy for " << kPython;
  for (const int protocol : {3, 4, 5}) {
    Parsed parsed(run_python(
        fmt::format("import numpy, pickle, sys\n"
                    "sys.stdout.buffer.write(pickle.dumps(numpy.zeros((100, 3072), 'u1'), {}))\n",
                    protocol)));
    const Array* array = parsed.root().array();
    ASSERT_NE(array, nullptr);
    const auto* begin = reinterpret_cast<const std::byte*>(parsed.bytes.data());
    EXPECT_GT(array->data.data(), begin);
    EXPECT_LT(array->data.data() + array->data.size(), begin + parsed.bytes.size());
  }
}

TEST(Pickle, OutOfBandBuffersAreRefused) {
  if (!has_python("numpy")) GTEST_SKIP() << "no numpy for " << kPython;
  EXPECT_THAT(parse_and_show(run_python(
                  "import numpy, pickle, sys\n"
                  "a = numpy.zeros(5)\n"
                  "sys.stdout.buffer.write(pickle.dumps(a, 5, buffer_callback=lambda b: None))\n")),
              HasSubstr("NEXT_BUFFER"));
}

}  // namespace
}  // namespace tarn::dataset
