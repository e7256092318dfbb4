#include "app/services.h"

#include <fmt/format.h>

namespace tarn::app {

Status Services::check(const Settings& settings) {
  for (const auto& [option, value] :
       {std::pair{"--listen", &settings.listen}, std::pair{"--tls", &settings.tls}}) {
    if (value->empty()) continue;
    return {Code::kNotSupported,
            fmt::format("{} {}: tarn {} has no HTTP listener; leave the option out", option, *value,
                        TARN_VERSION)};
  }
  return {};
}

Result<std::unique_ptr<Services>> Services::start(WorkerContext& context) {
  TARN_TRY(check(context.settings));
  return std::make_unique<Services>();
}

}  // namespace tarn::app
