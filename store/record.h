/* record.h - a message as bytes in the table `message`. Pure.
 *
 *     at  0  u32 length of the record, the checksum included
 *         4  u8  version (3)   5  u8 state   6  u8 form of the body   7  u8 flags
 *         8  u64 id           16  u64 time of its key in the table `due`, all ones: none
 *        24  u64 received_ms  32  u64 body_bytes
 *        40  u32 trace_bytes  44  u32 count of extents   48  u32 count of recipients
 *        52  extents: u32 segment, u32 at, u32 bytes, u32 crc32c
 *         .  sender, helo, client, listener, user, envid: u16 length and bytes
 *         .  u8 what to return of the message (enum dsn_return)
 *         .  recipients: address, orcpt, u8 notify, u8 state, u32 attempts, u64 next_ms, reply;
 *            in the byte of the state: bits 0-1 the state, 2-4 what is to be reported, 5 is_warned
 *       end  u32 CRC-32C of all before it
 *
 * Flags, from bit 0: is_8bit, is_binary, is_utf8, has_utf8_header, requires_tls, is_own; no other
 * is set. Version 2 knew no reports: its failed recipients are still to be reported. Version 1 had
 * neither users nor what DSN asks for; no release wrote it, and none reads it.
 *
 * Numbers are little-endian. What changes while a message waits to be committed stands at fixed
 * places, so that it is set in the bytes without encoding the rest again. */
#pragma once

#include "ring/base/cursor.h"
#include "store/message.h"

#define RECORD_VERSION 3
#define RECORD_VERSION_MIN 2     /* that is read */
#define RECORD_EXTENTS_MAX 65536 /* 4 GiB of body */
#define RECORD_BYTES_MAX (16u << 20)
#define RECORD_SEGMENT_MAX ((1u << 20) - 1) /* the largest number of a segment file */

enum record_state {
    RECORD_QUEUED,
    RECORD_HELD,    /* parked by an operator; of version 2: parked with failed recipients */
    RECORD_CORRUPT, /* parked: the body does not pass its check */
};

#define DUE_NEVER UINT64_MAX

/* The fixed part, but for the flags: those are the envelope's. */
struct record_head {
    enum record_state state;
    enum body_form form;
    uint64_t id, due_ms, received_ms, body_bytes;
    uint32_t trace_bytes, extent_count, recipient_count;
};

/* The length of the record of this message; 0 when it would pass RECORD_BYTES_MAX. */
size_t record_bytes(const struct envelope *envelope, uint32_t extent_count);
/* Writes `bytes` = record_bytes(). The extents may be NULL: they are set later. The checksum is
 * not written: record_seal(). False when a field does not fit its length prefix. */
MUST_USE bool record_write(void *record, size_t bytes, const struct record_head *head,
                           const struct envelope *envelope, const struct extent *extents);
void record_set_due(void *record, uint64_t due_ms);
void record_set_state(void *record, enum record_state state);
void record_set_extent(void *record, uint32_t index, const struct extent *extent);
/* Writes the checksum: the record is complete. */
void record_seal(void *record, size_t bytes);

/* True when the length, the version, the checksum and the counts fit; `id` is that of its key. */
MUST_USE bool record_check(struct slice record, uint64_t id, struct record_head *head_out);
/* Extent `index` of a record that passed record_check(). */
struct extent record_extent(const void *record, uint32_t index);
/* The two parts of a record that passed record_check(), read into the arrays of `message`, which
 * have room for what `head` counts. False when they do not fit `head`. */
MUST_USE bool record_read_extents(const void *record, const struct record_head *head,
                                  struct message *message);
/* All but the extents. The slices point into the record. The checksum is not looked at. */
MUST_USE bool record_read_envelope(struct slice record, const struct record_head *head,
                                   struct message *message);
