/* scalars.h - reads and writes the values that are one word or text, by kind (see key_types). */
#pragma once

#include "server/config/reading.h"

#define NAME_BYTES_MAX 64
#define FILE_PATH_BYTES_MAX 4095
#define REPLY_TEXT_BYTES_MAX 510 /* of a reply line of 512 with its CRLF (RFC 5321 4.5.3.1.5) */
#define TEXT_BYTES_MAX 1024      /* of a user name or a password */
#define FREE_SPACE_PERCENT_MAX 90u
#define FREE_SPACE_BYTES_MAX (16ull << 40)

key_read number_read, factor_read, boolean_read, choice_read, name_read, hostname_read, cores_read,
    path_read, file_read, free_space_read, maildir_read, reply_read, text_read, password_file_read;
key_write number_write, factor_write, boolean_write, choice_write, text_write, free_space_write,
    password_write, section_write;

/* A letter, then letters, digits, '-' and '_': it becomes a metric's label and part of the name of
 * an environment variable. */
bool name_is_valid(struct slice name);
/* The node's text; false (and a problem) when it is a list, a section or empty. */
bool scalar_text(struct reading *r, const struct schema_key *key, const struct node *node,
                 struct slice *out);
/* The names of the choices that are built, "one, two"; *near_out is the one that `text` comes near,
 * or NULL. The caller frees them. NULL: out of memory. */
char *choice_names(const struct schema_key *key, struct slice text, const char **near_out);
/* `path` below `directory`, or itself when it is absolute. The caller frees it. */
char *path_join(const char *directory, const char *path);
