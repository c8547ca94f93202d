/* load_report.h - the result of a run as JSON. bench/README.md names its members. */
#pragma once

#include "bench/load_run.h"
#include "bench/report.h"

/* Owned by the caller. */
json_t *load_report(const struct load_run *run);
/* The run did not do all it was asked to. */
bool load_report_is_partial(const struct load_run *run);
