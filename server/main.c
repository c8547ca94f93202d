/* main.c - joins the command line (server/ctl) with the daemon (server/core). */
#include "server/core/process.h"
#include "server/ctl/ctl.h"

#include <unistd.h>

static int load_again(void *owner, struct config **config_out, struct config_problems *problems)
{
    const struct ctl_run_options *options = owner;
    return config_load_with_flags(options->config_file, environ, options->flags, config_out,
                                  problems);
}

static int run(const struct ctl_run_options *options)
{
    struct ctl_run_options kept = *options;
    return process_run(&(struct process_options){
        .config = options->config,
        .ready_fd = options->ready_fd,
        .version = POSTERN_VERSION,
        .load = load_again,
        .owner = &kept,
    });
}

int main(int argc, char **argv)
{
    static const struct ctl_hooks hooks = {.version = POSTERN_VERSION, .run = run};
    return ctl_main(argc, argv, &hooks);
}
