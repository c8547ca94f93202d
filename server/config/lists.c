/* lists.c - see lists.h. A list of names comes from the configuration itself or from a file of its
 * own with one entry a line; both go through the same checks. */
#include "server/config/lists.h"

#include "ring/base/err.h"
#include "server/config/scalars.h"
#include "server/smtp/address.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUOTED(text) (int)MIN((text).len, 100u), (text).data

static bool check_list(struct reading *r, const struct schema_key *key, const struct node *node)
{
    if (node->kind != NODE_SEQUENCE) {
        report_add(r->report, &node->place, "'%s' must be a list: [one, two]", key->name);
        return false;
    }
    if (node->count == 0) {
        report_add(r->report, &node->place, "'%s' needs at least one entry", key->name);
        return false;
    }
    if (key->max != 0 && node->count > key->max) {
        report_add(r->report, &node->place, "'%s' may have at most %zu entries, not %zu", key->name,
                   (size_t)key->max, node->count);
        return false;
    }
    return true;
}

static bool check_word(struct reading *r, const struct schema_key *key, const struct node *node)
{
    if (node->kind == NODE_SCALAR && node->text.len > 0) return true;
    report_add(r->report, &node->place, "an entry of '%s' must be one word", key->name);
    return false;
}

/* --- addresses --- */

/* Two sockets at one address would share its traffic at random. Port 0 is a new port each time. */
static bool check_unbound(struct reading *r, const struct node *node,
                          const struct endpoint *address)
{
    for (size_t i = 0; i < r->bound.count; i++) {
        if (endpoint_port(address) != 0 && endpoint_eq(&r->bound.addresses[i], address)) {
            report_add(r->report, &node->place, "the address '%.*s' is taken: line %u has it",
                       QUOTED(node->text), r->bound.places[i].line);
            return false;
        }
    }
    if (r->bound.count == CONFIG_ADDRESSES_MAX) {
        report_add(r->report, &node->place, "at most %d addresses can be listened on",
                   CONFIG_ADDRESSES_MAX);
        return false;
    }
    size_t count = ++r->bound.count;
    r->bound.addresses = xrealloc(r->bound.addresses, count * sizeof(*r->bound.addresses));
    r->bound.places = xrealloc(r->bound.places, count * sizeof(*r->bound.places));
    r->bound.addresses[count - 1] = *address;
    r->bound.places[count - 1] = node->place;
    return true;
}

static bool read_listen_address(struct reading *r, const struct schema_key *key,
                                const struct node *node, struct endpoint *out)
{
    if (endpoint_parse(node->text, out)) return check_unbound(r, node, out);
    report_add(r->report, &node->place,
               "'%s' must be an IP address and a port, such as 0.0.0.0:25 or [::]:25, not '%.*s'",
               key->name, QUOTED(node->text));
    return false;
}

bool listen_read(struct reading *r, const struct schema_key *key, const struct node *node,
                 void *base)
{
    if (!check_list(r, key, node)) return false;
    struct endpoint *addresses = xcalloc(node->count, sizeof(*addresses));
    size_t count = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        count += check_word(r, key, child) && read_listen_address(r, key, child, &addresses[count]);
    }
    *(struct endpoint **)(void *)((char *)base + key->offset) = addresses;
    *(size_t *)(void *)((char *)base + key->count_offset) = count;
    return count == node->count;
}

bool admin_read(struct reading *r, const struct schema_key *key, const struct node *node,
                void *base)
{
    struct config *config = base;
    if (!check_list(r, key, node)) return false;
    config->admin.addresses = xcalloc(node->count, sizeof(*config->admin.addresses));
    config->admin.unix_paths = xcalloc(node->count, sizeof(*config->admin.unix_paths));
    bool is_good = true;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        if (!check_word(r, key, child)) {
            is_good = false;
        } else if (strncmp(child->text.data, "unix:", 5) == 0) {
            char *path = path_join(r->directory, child->text.data + 5);
            config->admin.unix_paths[config->admin.unix_path_count++] = path;
            if (child->text.len > 5 && strlen(path) <= UNIX_PATH_BYTES_MAX) continue;
            report_add(r->report, &child->place, "'unix:' needs a path of 1 to %d bytes",
                       UNIX_PATH_BYTES_MAX);
            is_good = false;
        } else {
            struct endpoint *at = &config->admin.addresses[config->admin.address_count];
            bool is_address = read_listen_address(r, key, child, at);
            config->admin.address_count += is_address;
            is_good = is_good && is_address;
        }
    }
    return is_good;
}

/* --- next hops and name servers --- */

/* "ADDRESS:PORT", or "ADDRESS" for that port. */
static bool parse_address(struct slice text, unsigned port, struct endpoint *out)
{
    if (endpoint_parse(text, out)) return endpoint_port(out) != 0;
    char with_port[ENDPOINT_TEXT_MAX + 8];
    bool has_brackets = text.len > 0 && text.data[text.len - 1] == ']';
    bool has_colon = memchr(text.data, ':', text.len) != NULL;
    if (text.len > ENDPOINT_TEXT_MAX || (has_colon && !has_brackets)) return false;
    int len = snprintf(with_port, sizeof(with_port), "%.*s:%u", (int)text.len, text.data, port);
    return endpoint_parse(slice_of(with_port, (size_t)len), out);
}

/* "NAME:PORT", or "NAME" for that port; what looks like an address is no name. */
static bool parse_name(struct slice text, unsigned port, struct config_host *out)
{
    uint64_t number = port;
    struct slice name = text;
    const char *colon = memchr(text.data, ':', text.len);
    if (colon != NULL) {
        name.len = (size_t)(colon - text.data);
        struct slice digits = slice_from(text, name.len + 1);
        if (!slice_to_u64(digits, 65535, &number) || number == 0) return false;
    }
    const char *last = memrchr(name.data, '.', name.len);
    size_t last_at = last != NULL ? (size_t)(last + 1 - name.data) : 0;
    bool has_letter = false;
    for (size_t i = last_at; i < name.len; i++) {
        char c = ascii_lower(name.data[i]);
        has_letter = has_letter || (c >= 'a' && c <= 'z');
    }
    if (!has_letter || !domain_is_valid(name)) return false;
    out->name = slice_to_cstr(name);
    for (char *c = out->name; *c != '\0'; c++)
        *c = ascii_lower(*c);
    out->endpoint.addr.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    out->endpoint.addr_len = sizeof(out->endpoint.addr.v4);
    return true;
}

static bool read_unix_host(struct reading *r, const struct node *node, struct config_host *out)
{
    out->unix_path = path_join(r->directory, node->text.data + 5);
    if (node->text.len > 5 && strlen(out->unix_path) <= UNIX_PATH_BYTES_MAX) return true;
    report_add(r->report, &node->place, "'unix:' needs a path of 1 to %d bytes",
               UNIX_PATH_BYTES_MAX);
    return false;
}

static bool read_host(struct reading *r, const struct schema_key *key, const struct node *node,
                      struct config_host *out)
{
    unsigned port = (unsigned)key->min;
    if (strncmp(node->text.data, "unix:", 5) == 0) return read_unix_host(r, node, out);
    if (parse_address(node->text, port, &out->endpoint)) return true;
    if (parse_name(node->text, port, out)) return true;
    report_add(r->report, &node->place,
               "'%s' must be a host name or an IP address, with a port or without, such as "
               "mail.example.com, 192.0.2.1:25 or [2001:db8::1]:25, not '%.*s'",
               key->name, QUOTED(node->text));
    return false;
}

bool hosts_read(struct reading *r, const struct schema_key *key, const struct node *node,
                void *base)
{
    if (!check_list(r, key, node)) return false;
    struct config_host *hosts = xcalloc(node->count, sizeof(*hosts));
    size_t count = 0, good = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next)
        good += check_word(r, key, child) && read_host(r, key, child, &hosts[count++]);
    *(struct config_host **)(void *)((char *)base + key->offset) = hosts;
    *(size_t *)(void *)((char *)base + key->count_offset) = count;
    return good == node->count;
}

bool servers_read(struct reading *r, const struct schema_key *key, const struct node *node,
                  void *base)
{
    if (!check_list(r, key, node)) return false;
    struct endpoint *servers = xcalloc(node->count, sizeof(*servers));
    size_t count = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        if (!check_word(r, key, child)) continue;
        if (parse_address(child->text, (unsigned)key->min, &servers[count])) {
            count++;
            continue;
        }
        report_add(r->report, &child->place,
                   "'%s' must be IP addresses of name servers, with a port or without, such as "
                   "127.0.0.1:53, not '%.*s'",
                   key->name, QUOTED(child->text));
    }
    *(struct endpoint **)(void *)((char *)base + key->offset) = servers;
    *(size_t *)(void *)((char *)base + key->count_offset) = count;
    return count == node->count;
}

/* One address of each family at most, without a port. */
bool sources_read(struct reading *r, const struct schema_key *key, const struct node *node,
                  void *base)
{
    struct config_hop *hop = (void *)((char *)base + key->offset);
    if (!check_list(r, key, node)) return false;
    size_t good = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        char text[ENDPOINT_TEXT_MAX + 8];
        struct endpoint source;
        if (!check_word(r, key, child)) continue;
        bool is_v6 = memchr(child->text.data, ':', child->text.len) != NULL;
        int len = snprintf(text, sizeof(text), is_v6 ? "[%.*s]:0" : "%.*s:0",
                           (int)MIN(child->text.len, (size_t)ENDPOINT_TEXT_MAX), child->text.data);
        struct endpoint *slot = is_v6 ? &hop->source_v6 : &hop->source_v4;
        if (!endpoint_parse(slice_of(text, (size_t)len), &source)) {
            report_add(r->report, &child->place,
                       "'%s' must be IP addresses without a port, not '%.*s'", key->name,
                       QUOTED(child->text));
        } else if (slot->addr_len != 0) {
            report_add(r->report, &child->place,
                       "'%s' may have one IPv4 and one IPv6 address: '%.*s' is one too many",
                       key->name, QUOTED(child->text));
        } else {
            *slot = source;
            good++;
        }
    }
    return good == node->count;
}

static void write_endpoint(const struct endpoint *endpoint, FILE *out)
{
    char text[ENDPOINT_TEXT_MAX];
    struct buf buf = {text, 0, sizeof(text), false};
    endpoint_write(endpoint, &buf);
    fwrite(text, 1, buf.len, out);
}

void endpoints_write(const struct schema_key *key, const void *base, FILE *out)
{
    const struct endpoint *addresses =
        *(const struct endpoint *const *)(const void *)((const char *)base + key->offset);
    size_t count = *(const size_t *)(const void *)((const char *)base + key->count_offset);
    fputc('[', out);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) fputs(", ", out);
        write_endpoint(&addresses[i], out);
    }
    fputc(']', out);
}

void hosts_write(const struct schema_key *key, const void *base, FILE *out)
{
    const struct config_host *hosts =
        *(const struct config_host *const *)(const void *)((const char *)base + key->offset);
    size_t count = *(const size_t *)(const void *)((const char *)base + key->count_offset);
    fputc('[', out);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) fputs(", ", out);
        if (hosts[i].unix_path != NULL) {
            fprintf(out, "unix:%s", hosts[i].unix_path);
        } else if (hosts[i].name != NULL) {
            fprintf(out, "%s:%u", hosts[i].name, endpoint_port(&hosts[i].endpoint));
        } else {
            write_endpoint(&hosts[i].endpoint, out);
        }
    }
    fputc(']', out);
}

void sources_write(const struct schema_key *key, const void *base, FILE *out)
{
    const struct config_hop *hop = (const void *)((const char *)base + key->offset);
    const struct endpoint *const both[] = {&hop->source_v4, &hop->source_v6};
    const char *comma = "";
    fputc('[', out);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        char text[ENDPOINT_TEXT_MAX];
        struct buf buf = {text, 0, sizeof(text), false};
        if (both[i]->addr_len == 0) continue;
        endpoint_write_address(both[i], &buf);
        fprintf(out, "%s%.*s", comma, (int)buf.len, text);
        comma = ", ";
    }
    fputc(']', out);
}

void admin_write(const struct schema_key *key, const void *base, FILE *out)
{
    (void)key;
    const struct config *config = base;
    const char *comma = "";
    fputc('[', out);
    for (size_t i = 0; i < config->admin.address_count; i++, comma = ", ") {
        fputs(comma, out);
        write_endpoint(&config->admin.addresses[i], out);
    }
    for (size_t i = 0; i < config->admin.unix_path_count; i++, comma = ", ") {
        fprintf(out, "%sunix:%s", comma, config->admin.unix_paths[i]);
    }
    fputc(']', out);
}

/* --- choices --- */

static void report_choices(struct reading *r, const struct schema_key *key,
                           const struct node *child)
{
    const char *near;
    char *names = choice_names(key, child->text, &near);
    if (names == NULL) return;
    report_add(r->report, &child->place, "'%.*s' in '%s' is none of %s%s%s%s", QUOTED(child->text),
               key->name, names, near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
               near != NULL ? "'?)" : "");
    free(names);
}

/* False after a problem. */
static bool add_choice(struct reading *r, const struct schema_key *key, const struct node *child,
                       unsigned *bits)
{
    if (!check_word(r, key, child)) return false;
    for (unsigned i = 0; key->choices[i].name != NULL; i++) {
        if (!slice_eq(child->text, slice_of_cstr(key->choices[i].name))) continue;
        bool is_new = (*bits & BIT(i)) == 0;
        if (!is_new) {
            report_add(r->report, &child->place, "'%s' is in '%s' twice", key->choices[i].name,
                       key->name);
        }
        *bits |= BIT(i);
        return is_new;
    }
    report_choices(r, key, child);
    return false;
}

bool choices_read(struct reading *r, const struct schema_key *key, const struct node *node,
                  void *base)
{
    if (!check_list(r, key, node)) return false;
    bool is_good = true;
    unsigned bits = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next) {
        is_good = add_choice(r, key, child, &bits) && is_good;
    }
    ASSERT(key->width == sizeof(bits));
    memcpy((char *)base + key->offset, &bits, sizeof(bits));
    return is_good;
}

void choices_write(const struct schema_key *key, const void *base, FILE *out)
{
    unsigned bits;
    memcpy(&bits, (const char *)base + key->offset, sizeof(bits));
    const char *comma = "";
    fputc('[', out);
    for (unsigned i = 0; key->choices[i].name != NULL; i++) {
        if ((bits & BIT(i)) == 0) continue;
        fprintf(out, "%s%s", comma, key->choices[i].name);
        comma = ", ";
    }
    fputc(']', out);
}

/* --- domains, recipients and networks --- */

/* Entries one after the other, each terminated. */
struct words {
    char *text;
    size_t len, cap, count;
};

static void words_add(struct words *words, struct slice word)
{
    if (words->cap - words->len < word.len + 1) {
        words->cap = MAX(words->cap * 2, words->len + word.len + 1);
        words->text = xrealloc(words->text, words->cap);
    }
    for (size_t i = 0; i < word.len; i++) {
        words->text[words->len++] = ascii_lower(word.data[i]);
    }
    words->text[words->len++] = '\0';
    words->count++;
}

/* Pointers and text in one piece of memory: free(entries) frees all. */
static struct config_list words_pack(const struct words *words)
{
    size_t pointer_bytes = words->count * sizeof(char *);
    char **entries = xmalloc(pointer_bytes + words->len + 1);
    char *text = (char *)entries + pointer_bytes;
    if (words->len > 0) memcpy(text, words->text, words->len);
    for (size_t i = 0; i < words->count; i++) {
        entries[i] = text;
        text += strlen(text) + 1;
    }
    return (struct config_list){entries, words->count};
}

static bool domain_entry_is_valid(struct slice entry)
{
    if (slice_eq(entry, SLICE("*"))) return true;
    if (entry.len > 2 && memcmp(entry.data, "*.", 2) == 0) entry = slice_from(entry, 2);
    return domain_is_valid_utf8(entry);
}

static bool recipient_entry_is_valid(struct slice entry)
{
    struct mailbox_address address;
    return mailbox_parse(entry, &address) == PARSE_OK && address.domain.len > 0;
}

static bool network_entry_is_valid(struct slice entry)
{
    struct network network;
    return network_parse(entry, &network);
}

struct entry_type {
    bool (*is_valid)(struct slice entry);
    const char *wanted;
};
static const struct entry_type domain_entry = {domain_entry_is_valid,
                                               "a domain, *.domain or * (quoted)"};
static const struct entry_type recipient_entry = {recipient_entry_is_valid,
                                                  "a mailbox such as user@example.com"};

static const struct entry_type network_entry = {
    network_entry_is_valid, "an IP network such as 192.0.2.0/24 or 2001:db8::/32 (zeros behind the "
                            "prefix), or one address"};

/* `text` is the whole file. */
static bool read_lines(struct reading *r, const struct node *node, const char *shown,
                       struct slice text, const struct entry_type *type, struct words *words)
{
    bool is_good = true;
    for (size_t line_number = 1; text.len > 0; line_number++) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        struct slice line = slice_of(text.data, len);
        text = slice_from(text, end != NULL ? len + 1 : len);
        if (line.len > 0 && line.data[line.len - 1] == '\r') line.len--;
        /* A '#' begins a comment at the start of a line or after a blank: '#' is a good byte of a
         * local part. */
        for (size_t i = 0; i < line.len; i++) {
            bool is_start = i == 0 || line.data[i - 1] == ' ' || line.data[i - 1] == '\t';
            if (line.data[i] == '#' && is_start) line.len = i;
        }
        line = slice_trim(line);
        if (line.len == 0) continue;
        if (line.len <= LIST_LINE_BYTES_MAX && type->is_valid(line)) {
            words_add(words, line);
            continue;
        }
        report_add_in_list(r->report, &node->place, shown, line_number, "'%.*s' is not %s",
                           QUOTED(line), type->wanted);
        is_good = false;
    }
    return is_good;
}

/* The bytes of a regular file; the caller frees them. NULL: *err_out is an errno. */
static char *read_whole(const char *path, size_t *len_out, int *err_out)
{
    struct stat status;
    char *text = NULL;
    /* Not blocking: a FIFO that nobody writes must not stop a reload. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) != 0) goto fail;
    if (!S_ISREG(status.st_mode)) {
        errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
        goto fail;
    }
    if ((uint64_t)status.st_size > LIST_FILE_BYTES_MAX) {
        errno = EFBIG;
        goto fail;
    }
    size_t cap = (size_t)status.st_size, len = 0;
    text = xmalloc(cap + 1);
    while (len < cap) {
        ssize_t got = read(fd, text + len, cap - len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) goto fail;
        if (got == 0) break;
        len += (size_t)got;
    }
    close(fd);
    *len_out = len;
    return text;

fail:
    *err_out = errno;
    free(text);
    if (fd >= 0) close(fd);
    return NULL;
}

/* {file: PATH} */
static bool read_list_file(struct reading *r, const struct schema_key *key, const struct node *node,
                           const struct entry_type *type, struct words *words)
{
    const struct node *file = node_find(node, "file");
    if (file == NULL || node->count != 1 || file->kind != NODE_SCALAR || file->text.len == 0) {
        report_add(r->report, &node->place, "'%s' must be a list or {file: PATH}", key->name);
        return false;
    }
    char *path = path_join(r->directory, file->text.data);
    char *shown = path_join(r->shown_directory, file->text.data);
    size_t len = 0;
    int err = 0;
    char *text = read_whole(path, &len, &err);
    bool is_good = false;
    if (text != NULL) {
        is_good = read_lines(r, file, shown, slice_of(text, len), type, words);
    } else {
        report_add(r->report, &file->place, "cannot read '%.300s': %s", shown, err_str(-err));
    }
    free(text);
    free(shown);
    free(path);
    return is_good;
}

static bool read_entries(struct reading *r, const struct schema_key *key, const struct node *node,
                         const struct entry_type *type, struct config_list *out)
{
    struct words words = {0};
    bool is_good = true;
    if (node->kind == NODE_MAPPING) {
        is_good = read_list_file(r, key, node, type, &words);
    } else {
        if (!check_list(r, key, node)) return false;
        for (const struct node *child = node->first; child != NULL; child = child->next) {
            if (!check_word(r, key, child)) {
                is_good = false;
            } else if (child->text.len <= LIST_LINE_BYTES_MAX && type->is_valid(child->text)) {
                words_add(&words, child->text);
            } else {
                report_add(r->report, &child->place, "'%.*s' is not %s", QUOTED(child->text),
                           type->wanted);
                is_good = false;
            }
        }
    }
    *out = words_pack(&words);
    free(words.text);
    return is_good;
}

bool domains_read(struct reading *r, const struct schema_key *key, const struct node *node,
                  void *base)
{
    return read_entries(r, key, node, &domain_entry, &((struct config_route *)base)->domains);
}

bool recipients_read(struct reading *r, const struct schema_key *key, const struct node *node,
                     void *base)
{
    return read_entries(r, key, node, &recipient_entry, &((struct config_route *)base)->recipients);
}

bool networks_read(struct reading *r, const struct schema_key *key, const struct node *node,
                   void *base)
{
    struct config_list list = {0};
    bool is_good = read_entries(r, key, node, &network_entry, &list);
    if (is_good && (list.count == 0 || list.count > key->max)) { /* of a file */
        report_add(r->report, &node->place, "'%s' needs 1 to %zu entries, not %zu", key->name,
                   (size_t)key->max, list.count);
        is_good = false;
    }
    if (is_good) {
        struct config_networks *networks = (void *)((char *)base + key->offset);
        networks->entries = xcalloc(list.count, sizeof(*networks->entries));
        networks->count = list.count;
        for (size_t i = 0; i < list.count; i++) {
            bool is_network = network_parse(slice_of_cstr(list.entries[i]), &networks->entries[i]);
            ASSERT(is_network);
        }
    }
    free(list.entries);
    return is_good;
}

void networks_write(const struct schema_key *key, const void *base, FILE *out)
{
    const struct config_networks *networks = (const void *)((const char *)base + key->offset);
    fputc('[', out);
    for (size_t i = 0; i < MIN(networks->count, (size_t)LIST_SHOWN_MAX); i++) {
        char text[ENDPOINT_TEXT_MAX];
        struct buf buf = {text, 0, sizeof(text), false};
        network_write(&networks->entries[i], &buf);
        fprintf(out, "%s%.*s", i > 0 ? ", " : "", (int)buf.len, text);
    }
    if (networks->count > LIST_SHOWN_MAX) {
        fprintf(out, ", and %zu more", networks->count - LIST_SHOWN_MAX);
    }
    fputc(']', out);
}

void entries_write(const struct schema_key *key, const void *base, FILE *out)
{
    const struct config_list *list = (const void *)((const char *)base + key->offset);
    fputc('[', out);
    for (size_t i = 0; i < MIN(list->count, (size_t)LIST_SHOWN_MAX); i++) {
        fprintf(out, "%s%s", i > 0 ? ", " : "", list->entries[i]);
    }
    if (list->count > LIST_SHOWN_MAX) fprintf(out, ", and %zu more", list->count - LIST_SHOWN_MAX);
    fputc(']', out);
}
