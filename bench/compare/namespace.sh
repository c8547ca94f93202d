# shellcheck shell=bash
# namespace.sh - for the start scripts, sourced: what a system expects at fixed places of the file
# system (users, spools) it gets in a mount namespace of its own. The machine is not changed, and
# nothing has to be taken back, for the mounts are gone with the last process that sees them.

# Starts the calling script again, by exec, in a private mount namespace; returns in that second run.
# $1 is the system's name, for messages; the others are the folders that it will see others in the
# place of. Ends with 69 where this cannot be, before anything was written.
enter_namespace() {
    [ "${BENCH_NAMESPACE:-}" != "$$" ] || return 0
    local name=$1 folder kept
    shift
    [ "$(id -u)" -eq 0 ] || {
        echo "$name: it must be started as root, and this is not root" >&2
        exit 69
    }
    unshare --mount --propagation private true 2>/dev/null || {
        echo "$name: it needs a mount namespace, and this container does not allow one (CAP_SYS_ADMIN)" >&2
        exit 69
    }
    for folder in "$@"; do
        for kept in "$BENCH_ROOT" "$BENCH_STATE"; do
            case $(realpath "$kept")/ in
            "$(realpath "$folder")"/*)
                echo "$name: it runs with a $folder of its own, so $kept must not be inside that" >&2
                exit 69
                ;;
            esac
        done
    done
    # The process id tells the second run from a first one that inherited the variable.
    BENCH_NAMESPACE=$$ exec unshare --mount --propagation private -- "$0"
}

# Adds the users $1... (each with a group of its name) to copies of the machine's lists in
# BENCH_STATE/etc, and puts those in place. A user that the machine has already stays as it is. The
# ids are the first free ones from 64000 on, so that a second start over the same state gets the same.
add_users() {
    local name group id=64000
    mkdir -p "$BENCH_STATE/etc"
    cp /etc/passwd /etc/group "$BENCH_STATE/etc/"
    for name in "$@"; do
        while getent passwd $id >/dev/null || getent group $id >/dev/null; do
            id=$((id + 1))
        done
        getent group "$name" >/dev/null || echo "$name:x:$id:" >>"$BENCH_STATE/etc/group"
        group=$(awk -F: -v name="$name" '$1 == name {print $3}' "$BENCH_STATE/etc/group")
        getent passwd "$name" >/dev/null ||
            echo "$name:x:$id:$group::/nonexistent:/usr/sbin/nologin" >>"$BENCH_STATE/etc/passwd"
        id=$((id + 1))
    done
    mount --bind "$BENCH_STATE/etc/passwd" /etc/passwd
    mount --bind "$BENCH_STATE/etc/group" /etc/group
}
