#include "s3/xml.h"

#include <charconv>
#include <cstring>

#include <fmt/format.h>
#include <pugixml.hpp>

#include "s3/conditions.h"

namespace tarn::s3 {
namespace {

constexpr size_t kKeysMax = 1000;
constexpr size_t kPartsMax = 10'000;

std::string_view local_name(const pugi::xml_node& node) {
  std::string_view name = node.name();
  if (const size_t colon = name.find(':'); colon != std::string_view::npos) {
    name.remove_prefix(colon + 1);
  }
  return name;
}

pugi::xml_node child(const pugi::xml_node& parent, std::string_view name) {
  for (const pugi::xml_node& node : parent.children()) {
    if (local_name(node) == name) return node;
  }
  return {};
}

Status malformed(std::string_view why) {
  return Status(Code::kBadFormat, fmt::format("the request's XML is malformed: {}", why));
}

/// Keys keep their white space, so it is parsed as text.
Result<pugi::xml_node> parse(pugi::xml_document& document, std::string_view text,
                             std::string_view root) {
  const auto result = document.load_buffer(text.data(), text.size(),
                                           pugi::parse_default | pugi::parse_ws_pcdata_single);
  if (!result) return malformed(result.description());
  const pugi::xml_node node = document.document_element();
  if (local_name(node) != root) {
    return malformed(fmt::format("expected <{}>, found <{}>", root, local_name(node)));
  }
  return node;
}

}  // namespace

XmlWriter::XmlWriter() : out_("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") {}

void XmlWriter::append(std::string_view text) {
  for (char c : text) {
    switch (c) {
      case '&':
        out_ += "&amp;";
        break;
      case '<':
        out_ += "&lt;";
        break;
      case '>':
        out_ += "&gt;";
        break;
      case '"':
        out_ += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out_ += fmt::format("&#x{:x};", static_cast<unsigned>(c));
        } else {
          out_ += c;
        }
    }
  }
}

void XmlWriter::open(std::string_view tag) {
  out_ += fmt::format("<{}>", tag);
  tags_.emplace_back(tag);
}

void XmlWriter::open_root(std::string_view tag) {
  out_ += fmt::format("<{} xmlns=\"{}\">", tag, kNamespace);
  tags_.emplace_back(tag);
}

void XmlWriter::close() {
  out_ += fmt::format("</{}>", tags_.back());
  tags_.pop_back();
}

void XmlWriter::leaf(std::string_view tag, std::string_view text) {
  out_ += '<';
  out_ += tag;
  out_ += '>';
  append(text);
  out_ += "</";
  out_ += tag;
  out_ += '>';
}

void XmlWriter::leaf(std::string_view tag, uint64_t number) {
  leaf(tag, std::string_view(std::to_string(number)));
}

void XmlWriter::leaf(std::string_view tag, bool value) {
  leaf(tag, std::string_view(value ? "true" : "false"));
}

std::string XmlWriter::take() {
  CHECK(tags_.empty(), "a tag is open");
  return std::move(out_);
}

Result<DeleteRequest> parse_delete(std::string_view text) {
  pugi::xml_document document;
  TARN_ASSIGN(const pugi::xml_node root, parse(document, text, "Delete"));
  DeleteRequest request;
  request.is_quiet = std::strcmp(child(root, "Quiet").child_value(), "true") == 0;
  for (const pugi::xml_node& node : root.children()) {
    if (local_name(node) != "Object") continue;
    const pugi::xml_node key = child(node, "Key");
    if (!key) return malformed("an <Object> without <Key>");
    if (request.keys.size() == kKeysMax) {
      return malformed(fmt::format("more than {} keys", kKeysMax));
    }
    request.keys.emplace_back(key.text().get());
  }
  if (request.keys.empty()) return malformed("no <Object>");
  return request;
}

Result<std::vector<CompletedPart>> parse_complete(std::string_view text) {
  pugi::xml_document document;
  TARN_ASSIGN(const pugi::xml_node root, parse(document, text, "CompleteMultipartUpload"));
  std::vector<CompletedPart> parts;
  for (const pugi::xml_node& node : root.children()) {
    if (local_name(node) != "Part") continue;
    CompletedPart part;
    const std::string_view number = child(node, "PartNumber").text().get();
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), part.number);
    if (number.empty() || error != std::errc{} || end != number.data() + number.size()) {
      return malformed("a <Part> without a <PartNumber>");
    }
    part.etag = unquoted(child(node, "ETag").text().get());
    if (parts.size() == kPartsMax) return malformed(fmt::format("more than {} parts", kPartsMax));
    parts.push_back(std::move(part));
  }
  if (parts.empty()) return malformed("no <Part>");
  return parts;
}

Result<std::string> parse_create_bucket(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return std::string();
  pugi::xml_document document;
  TARN_ASSIGN(const pugi::xml_node root, parse(document, text, "CreateBucketConfiguration"));
  return std::string(child(root, "LocationConstraint").text().get());
}

}  // namespace tarn::s3
