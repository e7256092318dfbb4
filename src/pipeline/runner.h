// run_plan: measures everything that a plan lists.
//
// For each table and each run it first runs the probes, then the ways in their order, each stage by
// itself. Where a table drops caches, dirty data is written back and the page cache, dentries and
// inodes are dropped before every probe and stage (needs root). A stage that fails ends the run.
// Thread rules: one run at a time.
#pragma once

#include <functional>

#include "pipeline/plan.h"
#include "pipeline/report.h"

namespace tarn::pipeline {

/// Told before each stage, and after it with its seconds.
using Observer = std::function<void(const TablePlan& table, uint32_t run, const std::string& way,
                                    const std::string& row, double seconds)>;

/// The report, or the status of the stage that failed, with its table, way and row in front.
Result<Report> run_plan(const Plan& plan, const Observer& observer);

/// sync(2), then drops the page cache, dentries and inodes.
Status drop_caches();

}  // namespace tarn::pipeline
