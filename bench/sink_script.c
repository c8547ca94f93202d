/* sink_script.c - reads all lines at start; one timer goes from line to line. */
#include "bench/sink_script.h"

#include "bench/units.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/loop.h"

#include <stdio.h>
#include <stdlib.h>

struct line {
    uint64_t at_ns;
    char *command;
};

struct sink_script {
    struct loop *loop;
    sink_script_handler *handler;
    void *owner;
    struct timer timer;
    uint64_t start_ns;
    size_t count, next;
    struct line lines[SINK_SCRIPT_LINES_MAX];
};

static void arm_next(struct sink_script *script)
{
    if (script->next == script->count) return;
    uint64_t at = script->start_ns + script->lines[script->next].at_ns;
    uint64_t now = loop_now_ns(script->loop);
    timer_arm(script->loop, &script->timer, at > now ? (at - now) / NS_PER_MS : 0);
}

static void script_on_timer(struct timer *timer)
{
    struct sink_script *script = CONTAINER_OF(timer, struct sink_script, timer);
    const struct line *line = &script->lines[script->next++];
    script->handler(script->owner, slice_of_cstr(line->command));
    arm_next(script);
}

static bool add_line(struct sink_script *script, struct slice text)
{
    text = slice_trim(text);
    if (text.len == 0 || text.data[0] == '#') return true;
    struct slice duration;
    if (script->count == SINK_SCRIPT_LINES_MAX) return false;
    struct line *line = &script->lines[script->count];
    if (!units_next(&text, ' ', &duration) || text.data == NULL) return false;
    if (!units_duration(duration, &line->at_ns)) return false;
    if (script->count > 0 && line->at_ns < line[-1].at_ns) return false;
    line->command = slice_to_cstr(slice_trim(text));
    script->count++;
    return true;
}

static bool read_lines(struct sink_script *script, FILE *file, const char *path)
{
    char *text = NULL;
    size_t cap = 0, number = 0;
    ssize_t len;
    bool is_good = true;
    while (is_good && (len = getline(&text, &cap, file)) > 0) {
        number++;
        if (text[len - 1] == '\n') len--;
        is_good = add_line(script, slice_of(text, (size_t)len));
    }
    if (!is_good) fprintf(stderr, "%s:%zu: not \"DURATION COMMAND\", in order\n", path, number);
    free(text);
    return is_good;
}

struct sink_script *sink_script_start(const char *path, struct loop *loop,
                                      sink_script_handler *handler, void *owner)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        return NULL;
    }
    struct sink_script *script = xcalloc(1, sizeof(*script));
    script->loop = loop;
    script->handler = handler;
    script->owner = owner;
    timer_init(&script->timer, script_on_timer);
    bool is_good = read_lines(script, file, path);
    fclose(file);
    if (!is_good) {
        sink_script_stop(script);
        return NULL;
    }
    script->start_ns = loop_now_ns(loop);
    arm_next(script);
    return script;
}

void sink_script_stop(struct sink_script *script)
{
    if (script == NULL) return;
    timer_disarm(&script->timer);
    for (size_t i = 0; i < script->count; i++) {
        free(script->lines[i].command);
    }
    free(script);
}
