# shellcheck shell=bash
# namespace.sh - for install and start, sourced: the mount namespace that Exim runs in.
#
# Exim takes its user from /etc/passwd, and keeps root's rights only for configurations that
# /etc/exim4/trusted_configs lists. So it sees a small /etc of its own, and at /mnt a folder ROOT:
#
#     ROOT/etc    is /etc
#     ROOT/peer   where the unpacked package is mounted
#     ROOT/...    spool, logs, configuration
#
# Its processes drop their rights; from /mnt they reach all this wherever the project stands, also
# in a folder that only root may enter. Nothing of it is seen outside, and it ends with the processes.

peer=$BENCH_ROOT/build/peers/exim4-daemon-light
exim_user=Debian-exim
# Of the numbers that Debian reserves (60000 to 64999).
exim_id=64925

unavailable() {
    echo "exim: $*" >&2
    exit 69
}

# Ends with 69 when this machine lets nobody make the namespace.
need_namespace() {
    [ "$(id -u)" -eq 0 ] ||
        unavailable "Exim changes to the users of its recipients and must be started by root"
    unshare --mount --propagation private mount -t tmpfs none /mnt 2>/dev/null ||
        unavailable "Exim needs a mount namespace of its own, and this container does not allow one (CAP_SYS_ADMIN)"
    # Its delivery is a program that it starts anew, by an unprivileged process.
    [ "$(stat -c '%u %a' "$peer/usr/sbin/exim4")" = "0 4755" ] ||
        unavailable "exim4 is not set-user-id root; remove build/peers/exim4-daemon-light and unpack it again as root"
}

# Makes what Exim sees in the folder ROOT; over an earlier one it leaves spool and logs.
make_root() {
    local root=$1
    mkdir -p "$root/etc/exim4" "$root/peer" "$root/spool" "$root/log"
    chmod 755 "$root" "$root/etc" "$root/etc/exim4" "$root/peer"
    chown $exim_id:$exim_id "$root/spool" "$root/log"
    printf '%s\n' "root:x:0:0:root:/root:/bin/sh" \
        "$exim_user:x:$exim_id:$exim_id::/mnt/spool:/usr/sbin/nologin" >"$root/etc/passwd"
    printf '%s\n' "root:x:0:" "mail:x:8:" "$exim_user:x:$exim_id:" >"$root/etc/group"
    # No DNS: every name that is asked for is here.
    printf '%s\n' "passwd: files" "group: files" "hosts: files" >"$root/etc/nsswitch.conf"
    echo "127.0.0.1 localhost exim.bench.test" >"$root/etc/hosts"
    echo /mnt/exim.conf >"$root/etc/exim4/trusted_configs"
    [ ! -e /etc/localtime ] || cp -L /etc/localtime "$root/etc/localtime"
    # A set-user-id program ignores LD_LIBRARY_PATH: what was unpacked beside it is found by ldconfig.
    find "$peer" -type f -name '*.so*' -printf '/mnt/peer/%P\n' | sed 's|/[^/]*$||' | sort -u >"$root/etc/ld.so.conf"
    cat /etc/ld.so.conf.d/*.conf >>"$root/etc/ld.so.conf" 2>/dev/null || true
}

# Becomes COMMAND (of a subshell, if need be) in a namespace where ROOT is mounted.
enter() {
    local root=$1
    shift
    # shellcheck disable=SC2016
    exec unshare --mount --propagation private bash -euc '
        mount --bind "$1" /mnt
        mount --bind "$2" /mnt/peer
        mount --bind /mnt/etc /etc
        ldconfig -X
        shift 2
        exec "$@"' enter "$root" "$peer" "$@"
}
