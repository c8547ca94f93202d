/* ctl.c - the table of commands, their help, and the way to them. */
#include "server/ctl/ctl.h"

#include "server/config/suggest.h"
#include "server/ctl/commands.h"

#define ADMIN_HELP                                                                                 \
    "  --admin URL      127.0.0.1:8025, http://HOST:PORT or unix:PATH; default: admin.address\n"   \
    "                   of the configuration, else 127.0.0.1:8025\n"                               \
    "  --config FILE    default: $POSTERN_CONFIG, then /etc/postern/postern.yaml\n"
#define SET_HELP "  --set KEY=VALUE  over the file and the environment; may be repeated\n"

static int command_help(const struct invocation *call);

static const struct command commands[] = {
    {"run", "runs the gateway in the foreground",
     "Examples:\n"
     "  postern run --config /etc/postern/postern.yaml\n"
     "  POSTERN__LOG__LEVEL=debug postern run --set node.cores=1\n"
     "\n"
     "Runs in the foreground and logs to standard output. Tells systemd (sd_notify), or "
     "--ready-fd,\n"
     "when it listens. TERM drains and ends; a second TERM ends at once; HUP reloads.\n"
     "\n"
     "Options:\n"
     "  --config FILE    default: $POSTERN_CONFIG, then /etc/postern/postern.yaml\n"
     "  --demo DIRECTORY a gateway to try: takes mail for demo.test on 127.0.0.1:2525 into "
     "Maildirs in\n"
     "                   DIRECTORY, with the postern.yaml that it makes there\n"
     "  --ready-fd N     an open file that gets one line when the gateway listens\n" SET_HELP,
     BIT(OPTION_CONFIG) | BIT(OPTION_DEMO) | BIT(OPTION_READY_FD) | BIT(OPTION_SET), 0,
     command_run},
    {"check", "reads a configuration and starts nothing",
     "Examples:\n"
     "  postern check /etc/postern/postern.yaml\n"
     "  postern check --show /etc/postern/postern.yaml\n"
     "\n"
     "Lists every problem as file:line:column: message and exits 78, or says that it is fine.\n"
     "\n"
     "Options:\n"
     "  --show           every effective value and where it came from\n"
     "  --config FILE    the same as FILE; default: as for run\n" SET_HELP,
     BIT(OPTION_CONFIG) | BIT(OPTION_SHOW) | BIT(OPTION_SET), 1, command_check},
    {"queue", "shows and changes the messages in the queue",
     "Examples:\n"
     "  postern queue list --domain example.com --older 4h\n"
     "  postern queue list --json | jq -r '.messages[].id'\n"
     "  postern queue show 0SAT7K1FW0000\n"
     "  postern queue retry --domain example.com\n"
     "  postern queue hold 0SAT7K1FW0000; postern queue release 0SAT7K1FW0000\n"
     "  postern queue remove --sender spam@example.net --dry-run\n"
     "  postern queue bounce --older 3d --reason \"5.4.1 the server is gone\" --yes\n"
     "\n"
     "list, show ID, and what changes messages, by ids or by what they have in common: retry (due "
     "now),\n"
     "hold (kept, not tried), release (from a hold), remove (deleted, nobody is told), bounce "
     "(given "
     "up,\n"
     "the sender is told). What is in delivery is changed when that has ended.\n"
     "\n"
     "Options:\n"
     "  --domain DOMAIN      of a recipient\n"
     "  --sender ADDRESS     \"<>\" is the null reverse-path\n"
     "  --recipient ADDRESS  one of them\n"
     "  --state STATE        queued, held or corrupt\n"
     "  --older DURATION     in the queue for longer than 90s, 4h, 3d\n"
     "  --limit N            at most so many messages, the oldest first\n"
     "  --all                every message: needed where neither ids nor filters are given\n"
     "  --dry-run            says which messages would be changed, and changes none\n"
     "  --reason TEXT        for bounce: a status such as 5.4.1 and words\n"
     "  --yes                remove and bounce without asking\n"
     "  --json               one JSON object; docs/command-line.md has its fields\n" ADMIN_HELP,
     BIT(OPTION_ADMIN) | BIT(OPTION_CONFIG) | BIT(OPTION_JSON) | BIT(OPTION_LIMIT) |
         BIT(OPTION_ALL) | BIT(OPTION_DOMAIN) | BIT(OPTION_DRY_RUN) | BIT(OPTION_OLDER) |
         BIT(OPTION_REASON) | BIT(OPTION_RECIPIENT) | BIT(OPTION_SENDER) | BIT(OPTION_STATE) |
         BIT(OPTION_YES),
     ARGUMENTS_MAX, command_queue},
    {"route", "shows destinations, and makes them wait",
     "Examples:\n"
     "  postern route list\n"
     "  postern route suspend example.com --for 2h --reason \"their maintenance\"\n"
     "  postern route resume example.com\n"
     "\n"
     "A destination is a domain (of an mx route) or the hosts of a route, as list names them. What "
     "is\n"
     "for a suspended one waits; no attempt is counted, but its time goes on.\n"
     "\n"
     "Options:\n"
     "  --for DURATION   90s, 4h, 3d; without it until it is resumed\n"
     "  --reason TEXT    shown by list, and kept as the reply\n"
     "  --all            resume: every destination\n"
     "  --json           one JSON object; docs/command-line.md has its fields\n" ADMIN_HELP,
     BIT(OPTION_ADMIN) | BIT(OPTION_CONFIG) | BIT(OPTION_JSON) | BIT(OPTION_ALL) | BIT(OPTION_FOR) |
         BIT(OPTION_REASON),
     2, command_route},
    {"reload", "makes the daemon read its configuration again",
     "Examples:\n"
     "  postern reload\n"
     "  postern reload --admin unix:/run/postern/admin\n"
     "\n"
     "A configuration with problems changes nothing: they are listed, and the exit code is 78.\n"
     "\n"
     "Options:\n" ADMIN_HELP,
     BIT(OPTION_ADMIN) | BIT(OPTION_CONFIG), 0, command_reload},
    {"health", "asks the daemon whether it takes connections",
     "Examples:\n"
     "  postern health\n"
     "  HEALTHCHECK CMD [\"/usr/bin/postern\", \"health\"]\n"
     "\n"
     "Exits 0 when it is ready, 1 when it is not, 69 when nobody answers.\n"
     "\n"
     "Options:\n" ADMIN_HELP,
     BIT(OPTION_ADMIN) | BIT(OPTION_CONFIG), 0, command_health},
    {"passwd", "makes a line for the users file of a listener",
     "Examples:\n"
     "  postern passwd alice >> /etc/postern/users\n"
     "  postern passwd --cram-md5 alice@example.test < password.txt\n"
     "\n"
     "Reads the password from the terminal, twice, or one line of standard input. The secret is "
     "for\n"
     "SCRAM-SHA-256, PLAIN and LOGIN. docs/authentication.md has the file.\n"
     "\n"
     "Options:\n"
     "  --cram-md5       a secret for CRAM-MD5 besides\n"
     "  --crypt          a yescrypt hash, for PLAIN and LOGIN only, instead of the one for SCRAM\n"
     "  --iterations N   of SCRAM-SHA-256, 4096 to 10000000; default: 16384\n",
     BIT(OPTION_CRAM_MD5) | BIT(OPTION_CRYPT) | BIT(OPTION_ITERATIONS), 1, command_passwd},
    {"version", "prints the version",
     "Examples:\n"
     "  postern version\n"
     "  postern version --json\n",
     BIT(OPTION_JSON), 0, command_version},
    {"help", "explains a command",
     "Examples:\n"
     "  postern help\n"
     "  postern help queue\n",
     0, 1, command_help},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *near = NULL;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        near = suggest(slice_of_cstr(name), near, commands[i].name);
    }
    fprintf(stderr, "postern: unknown command '%s'%s%s%s; see: postern help\n", name,
            near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
            near != NULL ? "'?)" : "");
    return CTL_USAGE;
}

static void print_overview(FILE *out)
{
    fputs("Examples:\n"
          "  postern check postern.yaml\n"
          "  postern run --config postern.yaml\n"
          "  postern queue list\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        fprintf(out, "  %-8s  %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n"
          "postern help COMMAND explains one. Exit codes: 0 done, 1 failed, 64 usage, 69 daemon\n"
          "unreachable, 73 spool owned by another process, 78 bad configuration.\n",
          out);
}

static void print_help(const struct command *command)
{
    printf("postern %s %s.\n\n%s", command->name, command->summary, command->help);
}

static int command_help(const struct invocation *call)
{
    if (call->argument_count == 0) {
        print_overview(stdout);
        return finish_output(call);
    }
    const struct command *command = find_command(call->arguments[0]);
    if (command == NULL) return unknown_command(call->arguments[0]);
    print_help(command);
    return finish_output(call);
}

int ctl_main(int argc, char **argv, const struct ctl_hooks *hooks)
{
    ASSERT(hooks->run != NULL && hooks->version != NULL);
    if (argc < 2) {
        print_overview(stderr);
        return CTL_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    struct invocation call = {.hooks = hooks, .command = find_command(name)};
    if (call.command == NULL) return unknown_command(name);
    int err = invocation_parse(&call, argc - 2, argv + 2);
    if (err != 0) return err;
    if (call.values[OPTION_HELP] != NULL) {
        print_help(call.command);
        return finish_output(&call);
    }
    return call.command->run(&call);
}
