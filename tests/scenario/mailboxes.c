/* mailboxes.c - counts what lies in the Maildirs, and checks it. */
#include "tests/scenario/world.h"

#include "ring/base/memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *read_file(const char *path, size_t *len_out)
{
    struct stat stat_of;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat_of) != 0) ledger_fail("cannot read %s", path);
    size_t len = (size_t)stat_of.st_size;
    char *bytes = xmalloc(len + 1);
    if (read(fd, bytes, len) != (ssize_t)len) ledger_fail("cannot read %s", path);
    close(fd);
    *len_out = len;
    return bytes;
}

static void count_message(const char *path, unsigned index, uint32_t number)
{
    size_t len, at = 0, bytes;
    char *content = read_file(path, &len);
    uint32_t found = content_find(content, len, &at);
    if (found != number) ledger_fail("%s holds message %08x", path, found);
    struct message_fact *message = &ledger->messages[number];
    char *wanted = content_make(number, message->bytes, &bytes);
    if (len - at != bytes || memcmp(content + at, wanted, bytes) != 0)
        ledger_fail("%s was changed on its way", path);
    if (message->fate == FATE_REFUSED) ledger_fail("%s was refused, and delivered", path);
    message->rcpts[index].delivered++;
    free(wanted);
    free(content);
}

static void count_mailbox(const char *mailbox, const char *name)
{
    unsigned index, number;
    char path[2048];
    if (sscanf(name, "r%ux%8x", &index, &number) != 2 || index >= LEDGER_RCPTS_MAX ||
        number >= ledger->message_count)
        ledger_fail("a mailbox of nobody: %s", name);
    snprintf(path, sizeof(path), "%s/%s/new", mailbox, name);
    DIR *new = opendir(path);
    if (new == NULL) return; /* not yet made */
    for (struct dirent *entry; (entry = readdir(new)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof(path), "%.500s/%.255s/new/%.255s", mailbox, name, entry->d_name);
        count_message(path, index, number);
    }
    closedir(new);
}

void mailboxes_count(void)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/mail/box.test", ledger->directory);
    DIR *all = opendir(path);
    if (all == NULL) return;
    for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
        if (entry->d_name[0] != '.') count_mailbox(path, entry->d_name);
    }
    closedir(all);
}
