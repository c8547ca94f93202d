/* users.c - the users file, and the table that is made of it.
 *
 * Happy path: the file is read whole, each line becomes a user in an arena of the table, and the
 * text is wiped. A line that is wrong adds a problem and the next one is read, so that all of them
 * are told at once; then the table is thrown away. */
#include "server/auth/users.h"

#include "ring/base/err.h"
#include "ring/base/map.h"
#include "ring/base/memory.h"
#include "server/auth/scram.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBLEM_COUNT_MAX 100
#define PROBLEM_BYTES_MAX 512
#define DECOY_ITERATIONS 16384 /* when nobody has a SCRAM secret */
#define DECOY_SALT_BYTES 16

struct entry {
    struct map_node node;
    struct user user;
    struct slice *patterns; /* owned, and their text with them */
    size_t pattern_count;
    uint32_t line;
    struct secret secrets[SECRET_KIND_COUNT];
    size_t secret_count;
};

struct users {
    uint32_t owners; /* atomic */
    struct map map;
    struct entry **entries;
    size_t count, cap;
    const struct secret **scrams; /* of the entries, in the order of the file */
    size_t scram_count;
    bool has[SECRET_KIND_COUNT];
    uint8_t decoy_key[SCRAM_KEY_BYTES];
    struct scram_server *scram_server;
};

/* What one parse carries. */
struct parse {
    struct users *users;
    const char *name; /* of the file */
    uint32_t line;
    struct config_problems *problems;
    size_t problem_count;
};

/* --- problems --- */

static void add_problem(struct config_problems *problems, const char *text)
{
    problems->lines = xrealloc(problems->lines, (problems->count + 1) * sizeof(problems->lines[0]));
    problems->lines[problems->count++] = xstrdup(text);
}

PRINTF_LIKE(2, 3) static void problem(struct parse *p, const char *format, ...)
{
    p->problem_count++;
    if (p->problem_count > PROBLEM_COUNT_MAX) return;
    char text[PROBLEM_BYTES_MAX];
    int len = snprintf(text, sizeof(text), "%s:%u: ", p->name, p->line);
    if (len > 0 && (size_t)len < sizeof(text)) {
        va_list args;
        va_start(args, format);
        vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
        va_end(args);
    }
    add_problem(p->problems, text);
}

/* --- one line --- */

static void entry_free(struct entry *entry)
{
    if (entry == NULL) return;
    for (size_t i = 0; i < entry->secret_count; i++)
        secret_finish(&entry->secrets[i]);
    for (size_t i = 0; i < entry->pattern_count; i++)
        free((char *)(uintptr_t)entry->patterns[i].data);
    free(entry->patterns);
    free((char *)(uintptr_t)entry->user.name.data);
    free(entry);
}

static bool entry_match(const struct map_node *node, struct slice key)
{
    return slice_eq(CONTAINER_OF(node, struct entry, node)->user.name, key);
}

/* The next word of the line; empty at its end. */
static struct slice next_word(struct slice *line)
{
    *line = slice_trim(*line);
    size_t len = 0;
    while (len < line->len && line->data[len] != ' ' && line->data[len] != '\t')
        len++;
    struct slice word = slice_of(line->data, len);
    *line = slice_from(*line, len);
    return word;
}

static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) return true;
    }
    return false;
}

static const char *secret_name(enum secret_kind kind)
{
    return kind == SECRET_SCRAM ? "SCRAM-SHA-256" : kind == SECRET_CRYPT ? "CRYPT" : "CRAM-MD5";
}

static void read_secret(struct parse *p, struct entry *entry, struct slice word)
{
    struct secret secret;
    const char *wrong = secret_parse(word, &secret);
    if (wrong != NULL) {
        problem(p, "%s", wrong);
        return;
    }
    for (size_t i = 0; i < entry->secret_count; i++) {
        if (entry->secrets[i].kind != secret.kind) continue;
        problem(p, "a second {%s} secret: a user has one of a kind", secret_name(secret.kind));
        secret_finish(&secret);
        return;
    }
    ASSERT(entry->secret_count < SECRET_KIND_COUNT);
    entry->secrets[entry->secret_count++] = secret;
}

/* "*", or with an at sign and something behind it. Whether it is an address that can be, MAIL says
 * when one comes. */
static bool is_pattern(struct slice text)
{
    if (slice_eq(text, SLICE("*"))) return true;
    const char *at = text.len > 0 ? memrchr(text.data, '@', text.len) : NULL;
    if (at == NULL || at == text.data + text.len - 1) return false;
    struct slice local = slice_of(text.data, (size_t)(at - text.data));
    size_t stars = slice_eq(local, SLICE("*")) ? local.len : 0;
    return memchr(text.data + stars, '*', text.len - stars) == NULL;
}

static void read_pattern(struct parse *p, struct entry *entry, struct slice text)
{
    if (!is_pattern(text)) {
        problem(p, "sender= takes an address, @domain, *@domain or *");
        return;
    }
    entry->patterns =
        xrealloc(entry->patterns, (entry->pattern_count + 1) * sizeof(entry->patterns[0]));
    entry->patterns[entry->pattern_count++] = slice_of(slice_to_cstr(text), text.len);
}

static void set_secrets(struct users *users, struct entry *entry)
{
    entry->user.password = &entry->secrets[0];
    for (size_t i = 0; i < entry->secret_count; i++) {
        const struct secret *secret = &entry->secrets[i];
        users->has[secret->kind] = true;
        if (secret->kind == SECRET_SCRAM) entry->user.scram = secret;
        if (secret->kind == SECRET_CRAM_MD5) entry->user.cram_md5 = secret;
    }
}

static void add_entry(struct parse *p, struct entry *entry)
{
    struct users *users = p->users;
    struct map_node *node = map_find(&users->map, entry->user.name, entry_match);
    if (node != NULL) {
        problem(p, "the user is on line %u already", CONTAINER_OF(node, struct entry, node)->line);
        entry_free(entry);
        return;
    }
    if (users->count == users->cap) {
        users->cap = MAX(2 * users->cap, 16u);
        users->entries = xrealloc(users->entries, users->cap * sizeof(users->entries[0]));
    }
    users->entries[users->count++] = entry;
    map_insert(&users->map, entry->user.name, &entry->node);
    if (entry->secret_count > 0) set_secrets(users, entry);
}

static void read_line(struct parse *p, struct slice line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\r') line.len--;
    line = slice_trim(line);
    if (line.len == 0 || line.data[0] == '#') return;
    if (line.len > USERS_LINE_BYTES_MAX) {
        problem(p, "the line is longer than %d bytes", USERS_LINE_BYTES_MAX);
        return;
    }
    struct slice rest = line, name = next_word(&rest);
    if (name.len > USERS_NAME_BYTES_MAX || has_control(name)) {
        problem(p, "a name is at most %d bytes, without control characters", USERS_NAME_BYTES_MAX);
        return;
    }
    struct entry *entry = xcalloc(1, sizeof(*entry));
    entry->user.name = slice_of(slice_to_cstr(name), name.len);
    entry->line = p->line;
    size_t problems_before = p->problem_count;
    for (struct slice word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        struct slice key = SLICE("sender=");
        if (slice_starts_with_nocase(word, key))
            read_pattern(p, entry, slice_from(word, key.len));
        else
            read_secret(p, entry, word);
    }
    if (entry->secret_count == 0 && p->problem_count == problems_before)
        problem(p, "the user has no secret; `postern passwd` makes one");
    add_entry(p, entry);
}

/* --- decoys --- */

/* Bytes that look drawn, the same for the same name and purpose. */
static void decoy_bytes(const struct users *users, const char *purpose, struct slice name,
                        uint8_t out[SCRAM_KEY_BYTES])
{
    char text[USERS_NAME_BYTES_MAX + 16];
    struct buf input = {text, 0, sizeof(text), false};
    buf_append_cstr(&input, purpose);
    buf_append_char(&input, '\0');
    buf_append(&input, name.data, MIN(name.len, USERS_NAME_BYTES_MAX));
    ASSERT(!input.is_short);
    unsigned len = SCRAM_KEY_BYTES;
    const unsigned char *done = HMAC(EVP_sha256(), users->decoy_key, SCRAM_KEY_BYTES,
                                     (const unsigned char *)text, input.len, out, &len);
    ASSERT(done != NULL && len == SCRAM_KEY_BYTES);
}

/* A number below `count`. */
static size_t decoy_pick(const struct users *users, struct slice name, size_t count)
{
    uint8_t bytes[SCRAM_KEY_BYTES];
    decoy_bytes(users, "pick", name, bytes);
    uint64_t number;
    memcpy(&number, bytes, sizeof(number));
    return (size_t)(number % count);
}

/* The key comes from a secret of the file: processes that share the file, and restarts, then agree
 * on what they make up. Without any, there is nobody to be told apart from. */
static void decoys_prepare(struct users *users)
{
    users->scrams = xcalloc(users->count, sizeof(users->scrams[0]));
    for (size_t i = 0; i < users->count; i++) {
        const struct secret *scram = users->entries[i]->user.scram;
        if (scram != NULL) users->scrams[users->scram_count++] = scram;
    }
    if (users->scram_count == 0) {
        int is_drawn = RAND_bytes(users->decoy_key, SCRAM_KEY_BYTES);
        ASSERT(is_drawn == 1);
        return;
    }
    memcpy(users->decoy_key, users->scrams[0]->of.scram.server_key, SCRAM_KEY_BYTES);
    /* Not the key of SCRAM itself: what is made with the one says nothing about the other. */
    uint8_t derived[SCRAM_KEY_BYTES];
    decoy_bytes(users, "decoys", SLICE(""), derived);
    memcpy(users->decoy_key, derived, SCRAM_KEY_BYTES);
}

const struct secret *users_decoy_password(const struct users *users, struct slice name)
{
    ASSERT(users->count > 0);
    return users->entries[decoy_pick(users, name, users->count)]->user.password;
}

void users_decoy_scram(const struct users *users, struct slice name, struct scram_secret *out)
{
    uint8_t salt[2 * SCRAM_KEY_BYTES];
    _Static_assert(sizeof(salt) >= SCRAM_SALT_BYTES_MAX, "a salt of any length can be made up");
    *out = (struct scram_secret){.iterations = DECOY_ITERATIONS, .salt_len = DECOY_SALT_BYTES};
    if (users->scram_count > 0) {
        size_t at = decoy_pick(users, name, users->scram_count);
        out->iterations = users->scrams[at]->of.scram.iterations;
        out->salt_len = users->scrams[at]->of.scram.salt_len;
    }
    decoy_bytes(users, "salt", name, salt);
    decoy_bytes(users, "more salt", name, salt + SCRAM_KEY_BYTES);
    memcpy(out->salt, salt, out->salt_len);
    decoy_bytes(users, "stored key", name, out->stored_key);
    decoy_bytes(users, "server key", name, out->server_key);
}

/* --- the file --- */

static void users_free(struct users *users)
{
    for (size_t i = 0; i < users->count; i++)
        entry_free(users->entries[i]);
    free(users->entries);
    free(users->scrams);
    map_finish(&users->map);
    scram_server_destroy(users->scram_server);
    OPENSSL_cleanse(users->decoy_key, sizeof(users->decoy_key));
    free(users);
}

static void read_lines(struct parse *p, struct slice text)
{
    while (text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        p->line++;
        read_line(p, slice_of(text.data, len));
        text = slice_from(text, MIN(len + 1, text.len));
    }
    if (p->users->count == 0 && p->problem_count == 0) problem(p, "there is no user in the file");
}

int users_parse(struct slice text, const char *name, const struct users **users_out,
                struct config_problems *problems)
{
    *users_out = NULL;
    struct users *users = xcalloc(1, sizeof(*users));
    users->owners = 1;
    map_init(&users->map);
    struct parse p = {.users = users, .name = name, .problems = problems};
    read_lines(&p, text);
    if (p.problem_count > PROBLEM_COUNT_MAX) {
        char more[PROBLEM_BYTES_MAX];
        snprintf(more, sizeof(more), "%s: and %zu further problems", name,
                 p.problem_count - PROBLEM_COUNT_MAX);
        add_problem(problems, more);
    }
    if (p.problem_count > 0) {
        users_free(users);
        return -ERR_SYNTAX;
    }
    decoys_prepare(users);
    users->scram_server = scram_server_create();
    *users_out = users;
    return 0;
}

PRINTF_LIKE(3, 4)
static int refuse_file(struct config_problems *problems, int err, const char *format, ...)
{
    char text[PROBLEM_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    add_problem(problems, text);
    return err;
}

/* Reads up to `cap` bytes. Returns how many, or -errno. */
static ssize_t read_all(int fd, char *into, size_t cap)
{
    size_t len = 0;
    while (len < cap) {
        ssize_t got = read(fd, into + len, cap - len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

static int load_open(int fd, const char *path, const struct users **users_out,
                     struct config_problems *problems)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return refuse_file(problems, -errno, "%s: cannot be read: %s", path, strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return refuse_file(problems, -ERR_INVALID, "%s: is no regular file", path);
    if ((stat.st_mode & S_IRWXO) != 0)
        return refuse_file(problems, -ERR_ACCESS,
                           "%s: everybody may read or write the secrets in it; "
                           "take that away: chmod o= %s",
                           path, path);
    if (stat.st_size > (off_t)USERS_FILE_BYTES_MAX)
        return refuse_file(problems, -ERR_TOO_LARGE, "%s: is larger than %u MiB", path,
                           USERS_FILE_BYTES_MAX >> 20);
    size_t cap = (size_t)stat.st_size;
    char *text = xmalloc(cap);
    ssize_t len = read_all(fd, text, cap);
    int err = len < 0 ? refuse_file(problems, (int)len, "%s: cannot be read: %s", path,
                                    strerror((int)-len))
                      : users_parse(slice_of(text, (size_t)len), path, users_out, problems);
    OPENSSL_cleanse(text, cap);
    free(text);
    return err;
}

int users_load(const char *path, const struct users **users_out, struct config_problems *problems)
{
    *users_out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
    if (fd < 0)
        return refuse_file(problems, -errno, "%s: cannot be read: %s", path, strerror(errno));
    int err = load_open(fd, path, users_out, problems);
    close(fd);
    return err;
}

/* --- owners and look-ups --- */

const struct users *users_ref(const struct users *users)
{
    /* Nothing else of it is ever written. */
    struct users *counted = (struct users *)(uintptr_t)users;
    uint32_t before = __atomic_fetch_add(&counted->owners, 1, __ATOMIC_RELAXED);
    ASSERT(before > 0);
    return users;
}

void users_unref(const struct users *users)
{
    if (users == NULL) return;
    struct users *counted = (struct users *)(uintptr_t)users;
    uint32_t before = __atomic_fetch_sub(&counted->owners, 1, __ATOMIC_ACQ_REL);
    ASSERT(before > 0);
    if (before == 1) users_free(counted);
}

size_t users_count(const struct users *users)
{
    return users->count;
}

bool users_have(const struct users *users, enum secret_kind kind)
{
    ASSERT(kind < SECRET_KIND_COUNT);
    return users->has[kind];
}

static const struct entry *entry_find(const struct users *users, struct slice name)
{
    struct map_node *node = map_find(&users->map, name, entry_match);
    return node != NULL ? CONTAINER_OF(node, struct entry, node) : NULL;
}

const struct user *users_find(const struct users *users, struct slice name)
{
    const struct entry *entry = entry_find(users, name);
    return entry != NULL ? &entry->user : NULL;
}

struct scram_server *users_scram_server(const struct users *users)
{
    return users->scram_server;
}

static bool pattern_matches(struct slice pattern, struct slice sender)
{
    if (slice_eq(pattern, SLICE("*"))) return true;
    const char *at = memrchr(sender.data, '@', sender.len);
    if (at == NULL) return false;
    if (slice_starts_with_nocase(pattern, SLICE("*@"))) pattern = slice_from(pattern, 1);
    if (pattern.data[0] == '@')
        return slice_eq_nocase(slice_from(sender, (size_t)(at - sender.data)), pattern);
    return slice_eq_nocase(sender, pattern);
}

bool users_owns_sender(const struct users *users, struct slice user, struct slice sender)
{
    const struct entry *entry = entry_find(users, user);
    if (entry == NULL) return false;
    if (sender.len == 0) return true;
    if (memchr(user.data, '@', user.len) != NULL && slice_eq_nocase(user, sender)) return true;
    for (size_t i = 0; i < entry->pattern_count; i++) {
        if (pattern_matches(entry->patterns[i], sender)) return true;
    }
    return false;
}
