/* index_open.c - opening a shard's environment: what it is, and what has to be known of it. */
#include "ring/base/clock.h"
#include "ring/base/crash_point.h"
#include "ring/base/memory.h"
#include "store/index_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLES_MAX 8
#define READERS_MAX 8
/* 1: messages with failed recipients were parked, where held ones are now. */
#define FORMAT_VERSION 2
#define FORMAT_BYTES 8

static int env_open(struct index *index, const char *path)
{
    int rc = mdb_env_create(&index->env);
    if (rc == 0) rc = mdb_env_set_maxdbs(index->env, TABLES_MAX);
    if (rc == 0) rc = mdb_env_set_maxreaders(index->env, READERS_MAX);
    if (rc == 0) rc = mdb_env_set_mapsize(index->env, index->map_bytes);
    /* No NOSYNC, NOMETASYNC or WRITEMAP: they can lose or corrupt what was acknowledged. Memory is
     * initialised before it is written (no NOMEMINIT), so that no foreign bytes reach the disk. */
    if (rc == 0)
        rc = mdb_env_open(index->env, path, MDB_NOSUBDIR | MDB_NORDAHEAD | MDB_NOTLS, 0600);
    int dead;
    if (rc == 0) rc = mdb_reader_check(index->env, &dead); /* of a process that was killed */
    return rc;
}

static int tables_open(struct index *index)
{
    MDB_txn *txn = index->txn;
    int rc = mdb_dbi_open(txn, "message", MDB_CREATE | MDB_INTEGERKEY, &index->message);
    if (rc == 0) rc = mdb_dbi_open(txn, "due", MDB_CREATE, &index->due);
    if (rc == 0) rc = mdb_dbi_open(txn, "segment", MDB_CREATE | MDB_INTEGERKEY, &index->segment);
    if (rc == 0) rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &index->meta);
    if (rc == 0) rc = mdb_dbi_open(txn, "aside", MDB_CREATE | MDB_INTEGERKEY, &index->aside);
    if (rc != 0) return rc;

    MDB_stat stat;
    rc = mdb_stat(txn, index->message, &stat);
    index->page_bytes = stat.ms_psize;
    return rc;
}

static int write_format(struct index *index)
{
    uint8_t bytes[FORMAT_BYTES];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_u32(&w, FORMAT_VERSION);
    write_u32(&w, index->shard);
    MDB_val key = val_of("format", 6), val = val_of(bytes, sizeof(bytes));
    return index_err(index, mdb_put(index->txn, index->meta, &key, &val, 0));
}

/* The row "format" says who wrote the environment; a new one gets it. */
static int check_format(struct index *index, char *why, size_t why_cap)
{
    MDB_val key = val_of("format", 6), val;
    int rc = mdb_get(index->txn, index->meta, &key, &val);
    index->format = FORMAT_VERSION;
    if (rc == MDB_NOTFOUND) return write_format(index);
    if (rc != 0) return index_err(index, rc);

    struct reader r = reader_of(val.mv_data, val.mv_size);
    uint32_t version = read_u32(&r), shard = read_u32(&r);
    if (r.is_bad || version == 0) return -ERR_CORRUPT;
    if (version > FORMAT_VERSION) {
        snprintf(why, why_cap, "was written by a newer version (format %u, this one knows %u)",
                 version, FORMAT_VERSION);
        return -ERR_VERSION;
    }
    if (shard != index->shard) {
        snprintf(why, why_cap, "belongs to shard %u: directories were exchanged", shard);
        return -ERR_CORRUPT;
    }
    index->format = version;
    return 0;
}

/* An environment of an older format becomes one of this, in one transaction. */
static int upgrade(struct index *index)
{
    if (index->format == FORMAT_VERSION) return 0;
    int err = index_begin(index);
    if (err != 0) return err;
    err = index_requeue_failed(index, clock_wall_ms());
    if (err == 0) err = write_format(index);
    if (err == 0) return index_commit(index);
    index_abort(index);
    return err;
}

static int load_totals(struct index *index)
{
    MDB_val key = val_of("totals", 6), val;
    int rc = mdb_get(index->txn, index->meta, &key, &val);
    if (rc == MDB_NOTFOUND) return 0;
    if (rc != 0) return index_err(index, rc);

    struct reader r = reader_of(val.mv_data, val.mv_size);
    index->totals.queued = read_u64(&r);
    index->totals.held = read_u64(&r);
    index->totals.corrupt = read_u64(&r);
    index->totals.body_bytes = read_u64(&r);
    index->totals.last_id = read_u64(&r);
    return r.is_bad || val.mv_size != TOTALS_BYTES ? -ERR_CORRUPT : 0;
}

static bool load_row(struct index *index, const MDB_val *key, const MDB_val *val)
{
    uint32_t number;
    if (key->mv_size != sizeof(number) || val->mv_size != ROW_BYTES) return false;
    memcpy(&number, key->mv_data, sizeof(number));
    if (number > RECORD_SEGMENT_MAX) return false;

    struct reader r = reader_of(val->mv_data, val->mv_size);
    index_rows_grow(index, number);
    struct segment_row *row = &index->rows[number];
    row->live = read_u64(&r);
    row->first_id = read_u64(&r);
    row->last_id = read_u64(&r);
    return true;
}

static int load_rows(struct index *index)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(index->txn, index->segment, &cursor);
    if (rc != 0) return index_err(index, rc);
    MDB_val key, val;
    bool is_good = true;
    while (is_good && (rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0)
        is_good = load_row(index, &key, &val);
    mdb_cursor_close(cursor);
    if (!is_good) return -ERR_CORRUPT;
    return rc == MDB_NOTFOUND ? 0 : index_err(index, rc);
}

static int last_key(struct index *index, MDB_dbi table, uint64_t *id_out)
{
    *id_out = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(index->txn, table, &cursor);
    if (rc != 0) return index_err(index, rc);
    MDB_val key, val;
    rc = mdb_cursor_get(cursor, &key, &val, MDB_LAST);
    if (rc == 0 && key.mv_size == sizeof(*id_out)) memcpy(id_out, key.mv_data, sizeof(*id_out));
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : index_err(index, rc);
}

/* Whatever the clock says, no id is given twice: the next ones are above all that were committed,
 * also those that are gone. */
static int load_ids(struct index *index)
{
    uint64_t in_message, in_aside;
    int err = last_key(index, index->message, &in_message);
    if (err == 0) err = last_key(index, index->aside, &in_aside);
    if (err != 0) return err;
    index->appended_id = in_message;
    index->totals.last_id = MAX(index->totals.last_id, MAX(in_message, in_aside));
    index->boot_id = index->totals.last_id;
    return 0;
}

static int load(struct index *index, char *why, size_t why_cap)
{
    int err = index_err(index, mdb_txn_begin(index->env, NULL, 0, &index->txn));
    if (err == 0) err = index_err(index, tables_open(index));
    if (err == 0) err = check_format(index, why, why_cap);
    if (err == 0) err = load_totals(index);
    if (err == 0) err = load_rows(index);
    if (err == 0) err = load_ids(index);
    if (err == 0) {
        err = index_err(index, mdb_txn_commit(index->txn));
        index->txn = NULL;
    }
    return err;
}

static int open_at(const struct index_options *options, const char *path, struct index **index_out,
                   char *why, size_t why_cap)
{
    *index_out = NULL;
    struct index *index = xcalloc(1, sizeof(*index));
    index->shard = options->shard;
    index->map_bytes_max = options->map_bytes_max;
    index->map_bytes = options->map_bytes_max + INDEX_MAP_RESERVE_BYTES;
    int rc = env_open(index, path);
    int err = index_err(index, rc);
    if (err == 0) err = load(index, why, why_cap);
    if (err == 0) err = upgrade(index);
    if (err == 0) {
        *index_out = index;
        return 0;
    }
    if (why[0] == '\0') snprintf(why, why_cap, "%s", rc != 0 ? mdb_strerror(rc) : err_str(err));
    index_close(index);
    return err;
}

static bool is_new(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size == 0 : errno == ENOENT;
}

static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof(directory), "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash != NULL) *slash = '\0';
    int fd = open(slash != NULL ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int err = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return err;
}

/* LMDB writes both meta pages of a new file at once, and a loss of power may leave the second
 * alone: a file that no start would open any more. So a new environment gets its name when it is
 * whole and synced. */
static int make_at(const struct index_options *options, char *why, size_t why_cap)
{
    char path[PATH_MAX], lock[PATH_MAX + 8];
    int len = snprintf(path, sizeof(path), "%s.new", options->path);
    if (len >= (int)sizeof(path)) return -ERR_TOO_LARGE;
    snprintf(lock, sizeof(lock), "%s-lock", path);
    (void)unlink(path);
    (void)unlink(lock);
    struct index *index;
    int err = open_at(options, path, &index, why, why_cap);
    if (err != 0) return err;
    index_close(index);
    (void)unlink(lock);
    CRASH_POINT("index_made");
    if (rename(path, options->path) != 0) return -errno;
    return sync_directory_of(options->path);
}

int index_open(const struct index_options *options, struct index **index_out, char *why,
               size_t why_cap)
{
    ASSERT(why_cap > 0);
    *index_out = NULL;
    why[0] = '\0';
    int err = is_new(options->path) ? make_at(options, why, why_cap) : 0;
    if (err == 0) return open_at(options, options->path, index_out, why, why_cap);
    if (why[0] == '\0') snprintf(why, why_cap, "%s", err_str(err));
    return err;
}

void index_close(struct index *index)
{
    if (index == NULL) return;
    if (index->txn != NULL) mdb_txn_abort(index->txn);
    if (index->env != NULL) mdb_env_close(index->env);
    free(index->rows);
    free(index->undo);
    free(index->scratch);
    free(index);
}
