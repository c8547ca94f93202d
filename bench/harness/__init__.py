"""What bench/run does: starts each system of bench/compare, loads it, and writes what it cost.

errors      what can go wrong, in sentences
options     the command line
scenarios   what is measured, and how long
systems     the folders of bench/compare, checked
accounting  control groups: processor time, memory and the end of all processes of a system
processes   processes of their own group, on their own CPUs
server      one running instance of a system
tools       load and sink
measure     one figure: accept, relay, latency, TLS
idle        many silent connections beside load
backlog     a full queue beside load, and a restart with it
durability  the kill test
machine     facts about the machine, and the disk's flush latency
plan        what is measured in which order
results     the JSON files
table       the short table on the terminal
build       packages, the release build, a certificate
context     where things are, and which CPUs are whose
session     all of it, one after another
"""
