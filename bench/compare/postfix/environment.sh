# shellcheck shell=bash disable=SC2034
# environment.sh - sourced by the scripts of this folder: where the unpacked Postfix is.
tree=$BENCH_ROOT/build/peers/postfix
triplet=$(uname -m)-linux-gnu
# The last two: what it depends on and the machine did not have.
export LD_LIBRARY_PATH=$tree/usr/lib/postfix:$tree/usr/lib/$triplet:$tree/lib/$triplet
