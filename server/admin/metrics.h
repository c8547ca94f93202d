/* metrics.h - the counters of all cores as Prometheus text (docs/metrics.md names each). */
#pragma once

#include "server/admin/admin.h"

#include <stdio.h>

void metrics_write(const struct admin_source *source, FILE *out);
