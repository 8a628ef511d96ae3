#!/usr/bin/env bash
# How a group's throughput and latency change as something grows: rows of a table for docs/performance.md.
#
#   cargo build --release
#   bench/growth.sh [clients] [values] [nodes] [faults] [documents]
#
# Without words all parts are measured. Each row is one `mondongo bench` of SECS seconds, on nodes started for the part
# on this machine; gets are linearizable, clients are connected to the leader, keys are as many as fit into 64 MB.
#
#   MONDONGO  the program                              target/release/mondongo
#   SECS      seconds of each measurement              5
#   PORT      the first of up to seven ports           23100
#   FOLDER    an empty or new folder for the nodes     one below /tmp, removed afterwards
#   WITH      what each measurement is started with, such as a lock: WITH="flock /tmp/lock"
#   GROUP     a number written to /proc/PID/autogroup of nodes and generator, against other work on the machine
#   DOCUMENTS numbers of documents                     100000 1000000
set -euo pipefail
cd "$(dirname "$0")/.."

MONDONGO=${MONDONGO:-target/release/mondongo}
SECS=${SECS:-5}
PORT=${PORT:-23100}
WITH=${WITH:-}
DOCUMENTS=${DOCUMENTS:-100000 1000000}
FOLDER=${FOLDER:-$(mktemp -d /tmp/growth.XXXXXX)}
KEY_BYTES=64000000
pids=()
helper=

die() { echo "growth.sh: $*" >&2; exit 1; }
command -v jq >/dev/null || die "needs jq"
[ -x "$MONDONGO" ] || die "there is no program $MONDONGO: cargo build --release, or MONDONGO=PROGRAM"

raise() { if [ -n "${GROUP:-}" ]; then echo "$GROUP" >"/proc/$1/autogroup"; fi; }

stop() {
  if [ -n "$helper" ]; then kill "$helper" 2>/dev/null || true; wait "$helper" 2>/dev/null || true; helper=; fi
  for pid in "${pids[@]}"; do kill -CONT "$pid" 2>/dev/null && kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  pids=()
  rm -rf "$FOLDER"/node*
}
trap 'stop; rm -rf "$FOLDER"' EXIT

address() { echo "127.0.0.1:$((PORT + $1))"; }
voters() { "$MONDONGO" member list "$(address 0)" 2>/dev/null | grep -cE ' (voter|leader) ' || true; }

# start COUNT: that many nodes, all of them voters. They are in sessions of their own, so that raise means them alone.
start() {
  mkdir -p "$FOLDER"
  for ((i = 0; i < $1; i++)); do
    setsid "$MONDONGO" serve "$FOLDER/node$i" "$(address $i)" $( ((i > 0)) && address 0) 2>"$FOLDER/node$i.log" &
    pids+=($!)
    for _ in $(seq 100); do "$MONDONGO" status "$(address $i)" >/dev/null 2>&1 && break; sleep 0.1; done
    raise "${pids[$i]}"
  done
  for _ in $(seq 200); do [ "$(voters)" = "$1" ] && return; sleep 0.1; done
  die "the nodes did not become $1 voters: see $FOLDER"
}

members() {
  local all=
  for ((i = 0; i < ${#pids[@]}; i++)); do
    if kill -0 "${pids[$i]}" 2>/dev/null; then all=$all,$(address $i); fi
  done
  echo "${all#,}"
}
# The number of a node that does not lead.
follower() {
  local at
  at=$("$MONDONGO" status "$(members)" | awk '$3 == "follower" {print $1; exit}')
  echo $(("${at##*:}" - PORT))
}
leader_first() { # the members, the leader first
  local leader all
  leader=$("$MONDONGO" status "$(members)" | awk '$3 == "leader" {print $1; exit}')
  all=$(members)
  echo "$leader,$all"
}

# measure LABEL OPERATION CLIENTS [OPTION…]: one row. REPORT is removed after it was read.
measure() {
  local label=$1 operation=$2 clients=$3 report="$FOLDER/report.json" living=
  shift 3
  for pid in "${pids[@]}"; do if kill -0 "$pid" 2>/dev/null; then living=$living,$pid; fi; done
  # shellcheck disable=SC2086,SC2016
  $WITH setsid -w bash -c '[ -z "$GROUP" ] || echo "$GROUP" >/proc/$$/autogroup; exec "$@"' generator \
    "$MONDONGO" bench "$(leader_first)" --first --quiet --pids "${living#,}" --output "$report" \
    --operation "$operation" --clients "$clients" --duration "${SECS}s" --timeout 30s "$@" >/dev/null || echo "growth.sh: not all was right: $label" >&2
  jq -r --arg what "$label" --arg operation "$operation" --arg load "$(cut -d' ' -f1 /proc/loadavg)" '
    def ms: . / 1000 | if . < 10 then . * 100 | round / 100 elif . < 100 then . * 10 | round / 10 else round end;
    .results as $r | $r.all as $a
    | ([$a.refused, $a.unknown, $a.wrong] + [$a.errors[]?] | add) as $not
    | "| \($what) | \($operation) | \($a.per_second | round) | \($a.p50_us | ms) | \($a.p99_us | ms) | \($a.max_us | ms) | "
      + "\($r.processes.cpu_seconds_per_1000 * 1000 | round) | \($r.processes.resident_mib | max | round) | \($not) | \($load) |"' "$report"
  rm -f "$report"
}

keys_of() { local keys=$((KEY_BYTES / $1)); echo $((keys > 100000 ? 100000 : keys)); }
both() { # both LABEL CLIENTS [OPTION…]
  measure "$1" put "${@:2}"
  measure "$1" get "${@:2}" --preload
}

echo "$(date -u +%FT%TZ), $("$MONDONGO" --version), $(nproc) processors, load average $(cut -d' ' -f1-3 /proc/loadavg), $SECS s each"
echo
echo "| what | operation | per second | p50 ms | p99 ms | longest ms | processor µs of all nodes | most memory of a node, MiB | not answered well | load |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
for part in "${@:-clients values nodes faults documents}"; do for part in $part; do
  case $part in
  clients)
    start 3
    for clients in 1 4 16 64 256 1000; do both "$clients clients" "$clients"; done
    stop ;;
  values)
    for bytes in 16 256 4096 65536 1000000; do
      start 3
      both "values of $bytes bytes, 16 clients" 16 --value-bytes $bytes --keys "$(keys_of $bytes)"
      stop
    done ;;
  nodes)
    for count in 1 3 5 7; do
      start $count
      both "$count nodes, 64 clients" 64
      stop
    done ;;
  faults)
    start 3
    both "three nodes, 64 clients" 64
    victim=${pids[$(follower)]}
    ( while kill -STOP "$victim" 2>/dev/null; do sleep 0.5; kill -CONT "$victim"; sleep 0.5; done ) &
    helper=$!
    both "one follower stands still half of the time" 64
    kill $helper; wait $helper 2>/dev/null || true; helper=; kill -CONT "$victim"
    if command -v strace >/dev/null; then
      strace -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:delay_enter=20000 -p "$victim" &
      helper=$!
      both "one follower's syncs take 20 ms longer" 64
      kill $helper; wait $helper 2>/dev/null || true; helper=
    fi
    kill -KILL "$victim"
    wait "$victim" 2>/dev/null || true
    both "one follower is dead" 64
    stop ;;
  documents)
    for count in $DOCUMENTS; do
      start 3
      # Loaded once: what a second load replaces would still be removed while the others are measured. Inserts come
      # last, for they add to it.
      measure "$count documents, 16 clients" search 16 --keys "$count" --preload
      for operation in range update insert; do
        measure "$count documents, 16 clients" $operation 16 --keys "$count"
      done
      stop
    done ;;
  *) die "there is no part $part" ;;
  esac
done; done
