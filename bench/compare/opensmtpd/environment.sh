# shellcheck shell=bash disable=SC2034
# environment.sh - sourced by the scripts of this folder: where the unpacked OpenSMTPD is.
tree=$BENCH_ROOT/build/peers/opensmtpd
triplet=$(uname -m)-linux-gnu
# What it depends on and the machine did not have.
export LD_LIBRARY_PATH=$tree/usr/lib/$triplet:$tree/lib/$triplet
