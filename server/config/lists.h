/* lists.h - reads and writes the values that are lists: addresses, hosts, choices, domains,
 * recipients, networks. */
#pragma once

#include "server/config/reading.h"

#define LIST_FILE_BYTES_MAX (1ull << 30)
#define LIST_LINE_BYTES_MAX 1024
#define LIST_SHOWN_MAX 100      /* entries that are written out; the others are counted */
#define UNIX_PATH_BYTES_MAX 107 /* of a socket's address */

key_read listen_read, admin_read, hosts_read, choices_read, domains_read, recipients_read,
    networks_read, servers_read, sources_read;
key_write hosts_write, sources_write, endpoints_write, admin_write, choices_write, entries_write,
    networks_write;
