/* load_report.h - the result of a run as JSON. bench/README.md names its members. */
#pragma once

#include "bench/load_run.h"
#include "bench/report.h"

/* Owned by the caller. */
json_t *load_report(const struct load_run *run, const struct load_total *total);
/* A line on standard error when the result is partial: why. */
void load_report_say_why(const struct load_options *options, const struct load_total *total);
int load_report_exit_code(const struct load_options *options, const struct load_total *total);
