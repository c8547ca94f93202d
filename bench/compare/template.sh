# template.sh - for the start scripts, sourced: fills the templates of a row.

# Writes FILE to standard output with each @NAME@ replaced by the value of BENCH_NAME. An unknown
# name is an error: a configuration with a hole in it would measure something else.
fill() {
    local text name
    text=$(<"$1") || return 1
    while [[ $text =~ @([A-Z_]+)@ ]]; do
        name=BENCH_${BASH_REMATCH[1]}
        if [ -z "${!name+set}" ]; then
            echo "$1: @${BASH_REMATCH[1]}@ has no value ($name is not set)" >&2
            return 1
        fi
        text=${text//"@${BASH_REMATCH[1]}@"/"${!name}"}
    done
    printf '%s\n' "$text"
}
