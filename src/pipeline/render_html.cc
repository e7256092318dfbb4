#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "pipeline/report.h"

namespace tarn::pipeline {
namespace {

constexpr std::array kColours = {"#8d99ae", "#e76f51", "#f4a261", "#e9c46a", "#2a9d8f", "#287271",
                                 "#6a4c93", "#b56576", "#1982c4", "#8ac926", "#adb5bd"};
constexpr double kChartWidth = 720, kLabelWidth = 140, kBarHeight = 22, kBarStep = 30;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += k <= count ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

bool is_charted(const std::string& row) {
  return row != "ingest" && row != "train";
}

/// One bar a way, one colour a row; without ingest and train, as the totals.
std::string chart(const Report& report, const TableReport& table) {
  double longest = 1e-9;
  for (const WayReport& way : table.ways)
    longest = std::max(longest, way.total(report.rows, false));
  const double height = kBarStep * static_cast<double>(table.ways.size()) + 10;
  std::string out = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"seconds by way and row\">\n",
      kLabelWidth + kChartWidth + 80, height);
  double y = 5;
  for (const WayReport& way : table.ways) {
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", kLabelWidth - 8,
                       y + 16, escaped(way.name));
    double x = kLabelWidth;
    for (size_t i = 0; i < report.rows.size(); ++i) {
      const std::string& row = report.rows[i];
      if (!is_charted(row)) continue;
      const double width = way.median(row) / longest * kChartWidth;
      out += fmt::format(
          "<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"><title>{} {}: "
          "{:.3f} s</title></rect>\n",
          x, y, width, kBarHeight, kColours[i % kColours.size()], escaped(way.name), escaped(row),
          way.median(row));
      x += width;
    }
    out += fmt::format("<text x=\"{:.2f}\" y=\"{}\">{:.2f} s</text>\n", x + 6, y + 16,
                       way.total(report.rows, false));
    y += kBarStep;
  }
  out += "</svg>\n<p class=\"legend\">";
  for (size_t i = 0; i < report.rows.size(); ++i) {
    if (!is_charted(report.rows[i])) continue;
    out += fmt::format("<span><i style=\"background:{}\"></i>{}</span> ",
                       kColours[i % kColours.size()], escaped(report.rows[i]));
  }
  return out + "</p>\n";
}

std::string numbers(const Report& report, const TableReport& table) {
  std::string out = "<div class=\"wide\"><table><tr><th>seconds</th>";
  for (const WayReport& way : table.ways) out += fmt::format("<th>{}</th>", escaped(way.name));
  out += "<th>floor</th></tr>\n";
  for (const std::string& row : report.rows) {
    out += fmt::format("<tr><td>{}</td>", escaped(row));
    for (const WayReport& way : table.ways)
      out +=
          fmt::format("<td title=\"{}\">{:.3f}</td>", escaped(way.what.at(row)), way.median(row));
    out += fmt::format("<td>{:.3f}</td></tr>\n", table.floors.at(row));
  }
  const auto line = [&](const char* first, auto&& value) {
    out += fmt::format("<tr class=\"sum\"><td>{}</td>", first);
    for (const WayReport& way : table.ways) out += fmt::format("<td>{}</td>", value(way));
    out += "<td></td></tr>\n";
  };
  line("total without train",
       [&](const WayReport& way) { return fmt::format("{:.3f}", way.total(report.rows, false)); });
  line("total with train",
       [&](const WayReport& way) { return fmt::format("{:.3f}", way.total(report.rows, true)); });
  line("extract + verify",
       [&](const WayReport& way) { return fmt::format("{:.3f}", way.extract_and_verify()); });
  line("MB copied", [](const WayReport& way) {
    return fmt::format("{:.1f}", static_cast<double>(way.bytes_copied) / 1e6);
  });
  line("MB decompressed", [](const WayReport& way) {
    return fmt::format("{:.1f}", static_cast<double>(way.bytes_decompressed) / 1e6);
  });
  line("final loss", [](const WayReport& way) { return escaped(way.shown_loss()); });
  return out + "</table></div>\n";
}

std::string gains(const Report& report, const TableReport& table) {
  const auto ratio = [&](const char* slower, const char* faster) {
    return table.ratio(report.rows, slower, faster);
  };
  return fmt::format(
      "<p>Without train, <code>copy</code> takes <b>{:.1f}x</b> the time of "
      "<code>in_place_stored</code>, {:.1f}x that of <code>in_place_reread</code> and {:.1f}x that "
      "of <code>again</code>. The parts: in place {:.2f}x (copy to in_place_tools), tools {:.2f}x "
      "(copy_fast to in_place_reread), stored digests {:.2f}x (in_place_reread to "
      "in_place_stored). Totals leave out ingest, which every way needs once.</p>\n",
      ratio("copy", "in_place_stored"), ratio("copy", "in_place_reread"), ratio("copy", "again"),
      ratio("copy", "in_place_tools"), ratio("copy_fast", "in_place_reread"),
      ratio("in_place_reread", "in_place_stored"));
}

std::string list(const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  std::string out = fmt::format("<h2>{}</h2><ul>\n", title);
  for (const std::string& line : lines) out += fmt::format("<li>{}</li>\n", escaped(line));
  return out + "</ul>\n";
}

constexpr std::string_view kHead =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width\">"
    "<title>Tarn: the pipeline</title><style>\n"
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #8884}"
    "th:first-child,td:first-child{text-align:left}.sum td{font-weight:600}"
    ".wide{overflow-x:auto}svg{width:100%;height:auto}svg text{font:13px "
    "system-ui;fill:currentColor}"
    ".legend span{margin-right:1em;white-space:nowrap}"
    ".legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em}dd{margin:0}"
    "</style></head><body>\n<h1>From archive to training: in place, and the usual way</h1>\n";

}  // namespace

std::string to_html(const Report& report, std::string_view preview_png) {
  std::string out(kHead);
  out += fmt::format(
      "<dl><dt>machine</dt><dd>{}</dd><dt>data set</dt><dd>{}</dd><dt>settings</dt>"
      "<dd>{}</dd><dt>runs</dt><dd>{}</dd></dl>\n",
      escaped(report.machine.dump()), escaped(report.dataset.dump()),
      escaped(report.settings.dump()), report.runs);
  out += list("This run is not sound", flags_of(report));
  for (const TableReport& table : report.tables) {
    out += fmt::format("<h2>{}, {}, caches {}</h2>\n", escaped(table.archive), escaped(table.link),
                       escaped(table.cache));
    out += gains(report, table) + chart(report, table) + numbers(report, table);
  }
  if (!preview_png.empty())
    out += fmt::format(
        "<h2>Preview</h2><img alt=\"a random batch with its labels\" "
        "src=\"data:image/png;base64,{}\">\n",
        base64(preview_png));
  out += list("Not measured as it should be yet", report.missing);
  out += list("Below the aims", shortfalls_of(report));
  out += list("Notes", report.notes);
  return out + "</body></html>\n";
}

}  // namespace tarn::pipeline
