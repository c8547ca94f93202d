# namespace.sh - for the start scripts, sourced: what a system expects at fixed places of the file
# system (users, spools) it gets in a mount namespace of its own. The machine is not changed, and
# nothing has to be taken back, for the mounts are gone with the last process that sees them.

# Starts the calling script again, by exec, in a private mount namespace; returns in that second run.
# Ends with 69 where that is not possible. $1 is the system's name, for the message.
enter_namespace() {
    [ "${BENCH_NAMESPACE:-}" != "$$" ] || return 0
    [ "$(id -u)" -eq 0 ] || {
        echo "$1: it must be started as root, and this is not root" >&2
        exit 69
    }
    unshare --mount --propagation private true 2>/dev/null || {
        echo "$1: it needs a mount namespace of its own, and this container does not allow one (CAP_SYS_ADMIN)" >&2
        exit 69
    }
    # The process id tells the second run from a first one that inherited the variable.
    BENCH_NAMESPACE=$$ exec unshare --mount --propagation private -- "$0"
}

# Puts the folder or file $1 in the place of $2, which must exist. A folder that would hide the
# project or the state cannot be replaced. Uses the name of the system, $3, for the message.
put_in_place() {
    local kept
    for kept in "$BENCH_ROOT" "$BENCH_STATE"; do
        case $(realpath "$kept")/ in
        "$(realpath "$2")"/*)
            echo "$3: $2 is replaced while it runs, so $kept must not be inside it" >&2
            exit 69
            ;;
        esac
    done
    mount --bind "$1" "$2"
}

# Adds the users $1... (each with a group of its name) to copies of the machine's lists in
# BENCH_STATE/etc, and puts those in place. A user that the machine has already stays as it is. The
# ids are the first free ones from 64000 on, so that a second start over the same state gets the same.
add_users() {
    local name id=64000
    mkdir -p "$BENCH_STATE/etc"
    cp /etc/passwd /etc/group "$BENCH_STATE/etc/"
    for name in "$@"; do
        while getent passwd $id >/dev/null || getent group $id >/dev/null; do
            id=$((id + 1))
        done
        getent group "$name" >/dev/null || echo "$name:x:$id:" >>"$BENCH_STATE/etc/group"
        getent passwd "$name" >/dev/null ||
            echo "$name:x:$id:$(awk -F: -v n="$name" '$1 == n {print $3}' "$BENCH_STATE/etc/group")::/nonexistent:/usr/sbin/nologin" \
                >>"$BENCH_STATE/etc/passwd"
        id=$((id + 1))
    done
    mount --bind "$BENCH_STATE/etc/passwd" /etc/passwd
    mount --bind "$BENCH_STATE/etc/group" /etc/group
}
