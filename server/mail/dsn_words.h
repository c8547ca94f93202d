/* dsn_words.h - how words from outside are put into a notification: escaped and folded.
 *
 * Pure. For the files of the notification. */
#pragma once

#include "ring/base/buf.h"

#define DSN_LINE_BYTES_WANTED 78
/* A word that would make a line longer is cut, well below the 998 of RFC 5322 2.1.1. */
#define DSN_LINE_BYTES_MAX 900

/* Lines with a common indentation, written word by word. */
struct dsn_folder {
    struct buf *out;
    size_t column;
    const char *indent; /* of the lines that follow, less one blank */
};

/* Writes `text`, printable and without line ends. A line ends before a blank, which then begins the
 * next one, so that unfolding gives the same text. */
void dsn_fold(struct dsn_folder *f, struct slice text);
void dsn_fold_cstr(struct dsn_folder *f, const char *text);
/* Goes on on the next line. */
void dsn_fold_line(struct dsn_folder *f);

/* Appends any bytes as printable ASCII: runs of blanks, tabs and line ends as one blank, other
 * control bytes and all above 127 as "\x{HEX}", of the character where it is UTF-8, else of the
 * byte. As much as fits: at most six bytes for each. */
void dsn_escape_words(struct slice in, struct buf *out);
/* The same for an address as utf-8-addr-xtext of RFC 6533 3: blanks, "+", "=" and "\" too. */
void dsn_escape_address(struct slice in, struct buf *out);
/* The other way round: "\x{HEX}" as UTF-8. False when `in` is no address of type utf-8 (RFC 6533
 * 3), in whichever of its forms, or does not fit. */
bool dsn_unescape_address(struct slice in, struct buf *out);
bool dsn_is_ascii(struct slice text);
/* UTF-8 without control characters. */
bool dsn_is_utf8(struct slice text);
