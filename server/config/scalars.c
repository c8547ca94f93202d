/* scalars.c - see scalars.h. A message names the key, what it takes, and what was found. */
#include "server/config/scalars.h"

#include "server/config/host.h"
#include "server/config/suggest.h"
#include "server/smtp/address.h"

#include "ring/base/err.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Values are quoted in messages up to this many bytes. */
#define QUOTED(text) (int)MIN((text).len, 100u), (text).data

static void *field(const struct schema_key *key, void *base)
{
    return (char *)base + key->offset;
}

static const void *const_field(const struct schema_key *key, const void *base)
{
    return (const char *)base + key->offset;
}

static void store(const struct schema_key *key, void *base, uint64_t n)
{
    ASSERT(key->width == 0 || key->width == 1 || key->width == 4 || key->width == 8);
    uint32_t narrow = (uint32_t)n;
    bool truth = n != 0;
    if (key->width == 1) memcpy(field(key, base), &truth, sizeof(truth));
    if (key->width == 4) memcpy(field(key, base), &narrow, sizeof(narrow));
    if (key->width == 8) memcpy(field(key, base), &n, sizeof(n));
}

static uint64_t load(const struct schema_key *key, const void *base)
{
    uint32_t narrow;
    uint64_t n = 0;
    if (key->width == 1) return *(const bool *)const_field(key, base);
    if (key->width == 8) memcpy(&n, const_field(key, base), sizeof(n));
    if (key->width != 4) return n;
    memcpy(&narrow, const_field(key, base), sizeof(narrow));
    return narrow;
}

static void store_text(const struct schema_key *key, void *base, char *text)
{
    char **at = (char **)field(key, base);
    free(*at);
    *at = text;
}

bool scalar_text(struct reading *r, const struct schema_key *key, const struct node *node,
                 struct slice *out)
{
    if (node->kind != NODE_SCALAR) {
        report_add(r->report, &node->place, "'%s' must be a single value, not a %s", key->name,
                   node->kind == NODE_SEQUENCE ? "list" : "section");
        return false;
    }
    if (node_is_empty(node) && node->place.kind != PLACE_DEFAULT) {
        report_add(r->report, &node->place, "'%s' has no value", key->name);
        return false;
    }
    *out = node->text;
    return true;
}

/* --- numbers --- */

static void report_number(struct reading *r, const struct schema_key *key, const struct node *node,
                          enum value_status status)
{
    static const char *const wanted[] = {
        [UNITS_NONE] = "a whole number",
        [UNITS_SIZE] = "a size such as 50MiB",
        [UNITS_DURATION] = "a duration such as 30s",
        [UNITS_PERCENT] = "a percentage such as 5%",
    };
    if (status == VALUE_NOT_A_NUMBER) {
        report_add(r->report, &node->place, "'%s' must be %s, not '%.*s'", key->name,
                   wanted[key->units], QUOTED(node->text));
    } else if (status == VALUE_NO_UNIT) {
        report_add(r->report, &node->place, "'%s' needs a unit after '%.*s': one of %s", key->name,
                   QUOTED(node->text), value_units(key->units));
    } else {
        report_add(r->report, &node->place, "'%s' has an unknown unit in '%.*s': the units are %s",
                   key->name, QUOTED(node->text), value_units(key->units));
    }
}

static void report_range(struct reading *r, const struct schema_key *key, const struct node *node,
                         void (*write)(const struct schema_key *key, uint64_t n, FILE *out))
{
    char *range = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&range, &bytes);
    if (out == NULL) return;
    write(key, key->min, out);
    fputs(" to ", out);
    write(key, key->max, out);
    fclose(out);
    report_add(r->report, &node->place, "'%s' must be %s, not '%.*s'", key->name, range,
               QUOTED(node->text));
    free(range);
}

static void write_in_units(const struct schema_key *key, uint64_t n, FILE *out)
{
    value_write(key->units, n, out);
}

bool number_read(struct reading *r, const struct schema_key *key, const struct node *node,
                 void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    uint64_t n;
    enum value_status status = value_parse(key->units, text, &n);
    if (status != VALUE_OK) {
        report_number(r, key, node, status);
        return false;
    }
    if (n < key->min || n > key->max) {
        report_range(r, key, node, write_in_units);
        return false;
    }
    store(key, base, n);
    return true;
}

void number_write(const struct schema_key *key, const void *base, FILE *out)
{
    value_write(key->units, load(key, base), out);
}

static void write_as_factor(const struct schema_key *key, uint64_t n, FILE *out)
{
    (void)key;
    value_write_factor(n, out);
}

bool factor_read(struct reading *r, const struct schema_key *key, const struct node *node,
                 void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    uint64_t n;
    if (value_parse_factor(text, &n) != VALUE_OK) {
        report_add(r->report, &node->place,
                   "'%s' must be a number with at most two decimals, such as 1.5, not '%.*s'",
                   key->name, QUOTED(text));
        return false;
    }
    if (n < key->min || n > key->max) {
        report_range(r, key, node, write_as_factor);
        return false;
    }
    store(key, base, n);
    return true;
}

void factor_write(const struct schema_key *key, const void *base, FILE *out)
{
    value_write_factor(load(key, base), out);
}

bool cores_read(struct reading *r, const struct schema_key *key, const struct node *node,
                void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    if (slice_eq(text, SLICE("auto"))) {
        store(key, base, MIN((uint64_t)host_cores(), key->max));
        return true;
    }
    if (!number_read(r, key, node, base)) return false;
    unsigned cpus = host_cpus();
    if (load(key, base) <= cpus) return true;
    report_add(r->report, &node->place, "'%s' is %.*s, but this process may use only %u CPU%s",
               key->name, QUOTED(text), cpus, cpus == 1 ? "" : "s");
    return false;
}

bool free_space_read(struct reading *r, const struct schema_key *key, const struct node *node,
                     void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    struct config *config = base;
    uint64_t percent, bytes;
    if (value_parse(UNITS_PERCENT, text, &percent) == VALUE_OK) {
        if (percent <= FREE_SPACE_PERCENT_MAX) {
            config->spool.min_free_percent = (unsigned)percent;
            return true;
        }
    } else if (value_parse(UNITS_SIZE, text, &bytes) == VALUE_OK) {
        if (bytes <= FREE_SPACE_BYTES_MAX) {
            config->spool.min_free_bytes = bytes;
            return true;
        }
    } else {
        report_add(r->report, &node->place,
                   "'%s' must be a percentage or a size, such as 5%% or 10GiB, not '%.*s'",
                   key->name, QUOTED(text));
        return false;
    }
    report_add(r->report, &node->place, "'%s' must be 0%% to %u%% or 0B to %lluTiB, not '%.*s'",
               key->name, FREE_SPACE_PERCENT_MAX, FREE_SPACE_BYTES_MAX >> 40, QUOTED(text));
    return false;
}

void free_space_write(const struct schema_key *key, const void *base, FILE *out)
{
    (void)key;
    const struct config *config = base;
    if (config->spool.min_free_bytes != 0) {
        value_write(UNITS_SIZE, config->spool.min_free_bytes, out);
    } else {
        value_write(UNITS_PERCENT, config->spool.min_free_percent, out);
    }
}

/* --- words --- */

char *choice_names(const struct schema_key *key, struct slice text, const char **near_out)
{
    *near_out = NULL;
    char *names = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&names, &bytes);
    if (out == NULL) return NULL;
    const char *comma = "";
    for (const struct choice *c = key->choices; c->name != NULL; c++) {
        if (!c->is_built) continue;
        fprintf(out, "%s%s", comma, c->name);
        comma = ", ";
        *near_out = suggest(text, *near_out, c->name);
    }
    fclose(out);
    return names;
}

static void report_choice(struct reading *r, const struct schema_key *key, const struct node *node)
{
    const char *near;
    char *names = choice_names(key, node->text, &near);
    if (names == NULL) return;
    report_add(r->report, &node->place, "'%s' must be %s%s, not '%.*s'%s%s%s", key->name,
               strchr(names, ',') != NULL ? "one of " : "", names, QUOTED(node->text),
               near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
               near != NULL ? "'?)" : "");
    free(names);
}

bool choice_read(struct reading *r, const struct schema_key *key, const struct node *node,
                 void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    for (const struct choice *c = key->choices; c->name != NULL; c++) {
        if (!slice_eq(text, slice_of_cstr(c->name))) continue;
        if (!c->is_built) {
            report_add(r->report, &node->place, "'%s: %s' is not built yet in this version",
                       key->name, c->name);
            return false;
        }
        store(key, base, (uint64_t)(c - key->choices));
        return true;
    }
    report_choice(r, key, node);
    return false;
}

void choice_write(const struct schema_key *key, const void *base, FILE *out)
{
    fputs(key->choices[load(key, base)].name, out);
}

bool boolean_read(struct reading *r, const struct schema_key *key, const struct node *node,
                  void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    bool is_true = slice_eq(text, SLICE("true"));
    if (!is_true && !slice_eq(text, SLICE("false"))) {
        report_add(r->report, &node->place, "'%s' must be true or false, not '%.*s'", key->name,
                   QUOTED(text));
        return false;
    }
    store(key, base, is_true);
    return true;
}

void boolean_write(const struct schema_key *key, const void *base, FILE *out)
{
    fputs(load(key, base) != 0 ? "true" : "false", out);
}

bool name_is_valid(struct slice name)
{
    if (name.len == 0 || name.len > NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = ascii_lower(name.data[i]);
        bool is_letter = c >= 'a' && c <= 'z';
        bool is_other = (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!is_letter && (i == 0 || !is_other)) return false;
    }
    return true;
}

bool name_read(struct reading *r, const struct schema_key *key, const struct node *node, void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    if (!name_is_valid(text)) {
        report_add(r->report, &node->place,
                   "'%s' must be a letter, then letters, digits, '-' and '_', at most %d, not "
                   "'%.*s'",
                   key->name, NAME_BYTES_MAX, QUOTED(text));
        return false;
    }
    store_text(key, base, slice_to_cstr(text));
    return true;
}

bool hostname_read(struct reading *r, const struct schema_key *key, const struct node *node,
                   void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    bool is_given = node->place.kind != PLACE_DEFAULT;
    char *name = is_given ? slice_to_cstr(text) : host_name();
    for (char *at = name; *at != '\0'; at++) {
        *at = ascii_lower(*at);
    }
    store_text(key, base, name);
    if (domain_is_valid(slice_of_cstr(name))) return true;
    report_add(r->report, &node->place, "'%s' must be a domain name, not '%.100s'%s", key->name,
               name, is_given ? "" : ", which is this host's own: set node.hostname");
    return false;
}

void text_write(const struct schema_key *key, const void *base, FILE *out)
{
    const char *const *text = (const char *const *)const_field(key, base);
    fputs(*text != NULL ? *text : "", out); /* NULL: nobody derived it, since nobody needs it */
}

void section_write(const struct schema_key *key, const void *base, FILE *out)
{
    (void)key, (void)base;
    fputs("{}", out);
}

/* --- paths --- */

char *path_join(const char *directory, const char *path)
{
    if (path[0] == '/' || directory[0] == '\0') return slice_to_cstr(slice_of_cstr(path));
    char *joined = NULL;
    const char *slash = directory[strlen(directory) - 1] == '/' ? "" : "/";
    int len = asprintf(&joined, "%s%s%s", directory, slash, path);
    ASSERT(len > 0);
    return joined;
}

static char *read_path(struct reading *r, const struct schema_key *key, const struct node *node)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return NULL;
    char *path = text.len > 0 ? path_join(r->directory, text.data) : NULL;
    if (path == NULL || strlen(path) > FILE_PATH_BYTES_MAX) {
        report_add(r->report, &node->place, "'%s' must be a path of 1 to %d bytes", key->name,
                   FILE_PATH_BYTES_MAX);
        free(path);
        return NULL;
    }
    return path;
}

bool path_read(struct reading *r, const struct schema_key *key, const struct node *node, void *base)
{
    char *path = read_path(r, key, node);
    if (path == NULL) return false;
    store_text(key, base, path);
    return true;
}

/* 0, or -ERR_*. Not blocking: a FIFO that nobody writes must not stop a reload. */
static int try_file(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err = fd < 0 || fstat(fd, &status) != 0 ? -errno : 0;
    if (err == 0 && !S_ISREG(status.st_mode)) err = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    if (fd >= 0) close(fd);
    return err;
}

/* What is in the file is its reader's affair; here it is enough that it can be opened. */
bool file_read(struct reading *r, const struct schema_key *key, const struct node *node, void *base)
{
    char *path = read_path(r, key, node);
    if (path == NULL) return false;
    store_text(key, base, path);
    int err = try_file(path);
    if (err == 0) return true;
    char *shown = path_join(r->shown_directory, node->text.data);
    report_add(r->report, &node->place, "'%s': cannot read '%.300s': %s", key->name, shown,
               err == -EINVAL ? "it is no regular file" : err_str(err));
    free(shown);
    return false;
}

/* --- names and passwords --- */

/* NULL: it may be one. */
static const char *find_text_fault(struct slice text)
{
    if (text.len == 0) return "is empty";
    if (text.len > TEXT_BYTES_MAX) return "is longer than 1024 bytes";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < ' ' || c == 0x7f) return "holds a control character";
    }
    return NULL;
}

bool text_read(struct reading *r, const struct schema_key *key, const struct node *node, void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    const char *fault = find_text_fault(text);
    if (fault != NULL) {
        report_add(r->report, &node->place, "'%s' %s", key->name, fault);
        return false;
    }
    store_text(key, base, slice_to_cstr(text));
    return true;
}

/* The first line without its end. NULL, and a problem in `why`. */
static char *read_first_line(const char *path, const char **why)
{
    char line[TEXT_BYTES_MAX + 2];
    struct stat status;
    *why = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) != 0) {
        *why = err_str(-errno);
    } else if (!S_ISREG(status.st_mode)) {
        *why = "it is no regular file";
    } else if ((status.st_mode & S_IRWXO) != 0) {
        *why = "everybody may read or write it: chmod 640 it";
    }
    ssize_t got = *why == NULL ? read(fd, line, sizeof(line)) : 0;
    if (got < 0) *why = err_str(-errno);
    if (fd >= 0) close(fd);
    if (*why != NULL) return NULL;
    struct slice text = slice_of(line, (size_t)got);
    const char *end = memchr(text.data, '\n', text.len);
    if (end != NULL) text.len = (size_t)(end - text.data);
    if (text.len > 0 && text.data[text.len - 1] == '\r') text.len--;
    *why = find_text_fault(text);
    char *copy = *why == NULL ? slice_to_cstr(text) : NULL;
    explicit_bzero(line, sizeof(line));
    return copy;
}

bool password_file_read(struct reading *r, const struct schema_key *key, const struct node *node,
                        void *base)
{
    char *path = read_path(r, key, node);
    if (path == NULL) return false;
    const char *why;
    char *password = read_first_line(path, &why);
    free(path);
    if (password != NULL) {
        store_text(key, base, password);
        return true;
    }
    char *shown = path_join(r->shown_directory, node->text.data);
    report_add(r->report, &node->place, "'%s': cannot use '%.300s': %s", key->name, shown, why);
    free(shown);
    return false;
}

void password_write(const struct schema_key *key, const void *base, FILE *out)
{
    const char *const *text = (const char *const *)const_field(key, base);
    fputs(*text != NULL ? "(set)" : "", out);
}

bool maildir_read(struct reading *r, const struct schema_key *key, const struct node *node,
                  void *base)
{
    char *path = read_path(r, key, node);
    if (path == NULL) return false;
    store_text(key, base, path);
    /* Only what was written counts: the directory of the file may have braces in its name. */
    for (const char *at = strpbrk(node->text.data, "{}"); at != NULL; at = strpbrk(at, "{}")) {
        size_t len = strncmp(at, "{domain}", 8) == 0 ? 8 : strncmp(at, "{local}", 7) == 0 ? 7 : 0;
        if (len == 0) {
            report_add(r->report, &node->place,
                       "'%s' may hold {domain} and {local}, no other braces: '%.60s'", key->name,
                       at);
            return false;
        }
        at += len;
    }
    return true;
}

/* --- replies --- */

static bool take_number(struct slice *text, size_t digits_max)
{
    size_t len = 0;
    while (len < text->len && len < digits_max && text->data[len] >= '0' &&
           text->data[len] <= '9') {
        len++;
    }
    *text = slice_from(*text, len);
    return len > 0;
}

static bool take_char(struct slice *text, char c)
{
    if (text->len == 0 || text->data[0] != c) return false;
    *text = slice_from(*text, 1);
    return true;
}

/* RFC 3463 2: class "." subject "." detail, each of the last two of 1 to 3 digits. */
static bool take_status(struct slice *text)
{
    return take_number(text, 1) && take_char(text, '.') && take_number(text, 3) &&
           take_char(text, '.') && take_number(text, 3);
}

static const char *find_reply_fault(struct slice text)
{
    if (text.len > REPLY_TEXT_BYTES_MAX) return "is longer than a reply line (510 bytes)";
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < ' ' || text.data[i] > '~') return "must be printable ASCII";
    }
    bool has_code = text.len >= 4 && (text.data[0] == '4' || text.data[0] == '5') &&
                    text.data[1] >= '0' && text.data[1] <= '5' && text.data[2] >= '0' &&
                    text.data[2] <= '9' && text.data[3] == ' ';
    if (!has_code) return "must begin with a code of 4yz or 5yz";
    /* RFC 5321 3.8: after 421 the connection is closed, which is not the refusal of one
     * recipient. */
    if (strncmp(text.data, "421", 3) == 0) return "must not be 421, which ends the session";
    char class = text.data[0];
    struct slice rest = slice_from(text, 4);
    bool is_same_class = rest.len > 0 && rest.data[0] == class;
    if (!take_status(&rest)) return "needs a status such as 5.1.1 (RFC 3463) after its code";
    if (!is_same_class) return "has a status of another class than its code";
    if (!take_char(&rest, ' ') || slice_trim(rest).len == 0) return "needs a text after its status";
    return NULL;
}

bool reply_read(struct reading *r, const struct schema_key *key, const struct node *node,
                void *base)
{
    struct slice text;
    if (!scalar_text(r, key, node, &text)) return false;
    const char *fault = find_reply_fault(text);
    if (fault != NULL) {
        report_add(r->report, &node->place,
                   "'%s' %s, as in \"550 5.1.1 No such recipient here\": '%.*s'", key->name, fault,
                   QUOTED(text));
        return false;
    }
    store_text(key, base, slice_to_cstr(text));
    return true;
}
