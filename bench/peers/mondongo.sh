#!/bin/bash
# MondongoDB, three nodes on loopback. MONDONGO=PROGRAM mondongo.sh bench | docs | failover | up
. "$(dirname "$0")/common.sh"
MONDONGO=$(command -v "${MONDONGO:?name the program: MONDONGO=…/target/release/mondongo $0 …}")
build
LABEL=${LABEL:-mondongo-x3}
A=127.0.0.1
EPS=$A:26101,$A:26102,$A:26103

# Everything at its default; the nodes join one after the other. A second start of the same line needs no change.
member m1 "$MONDONGO" serve "$DATA/m1" $A:26101
until_ok 30 "$MONDONGO" status $A:26101
for i in 2 3; do
  member m$i "$MONDONGO" serve "$DATA/m$i" $A:2610$i $A:26101
done
all_vote() { [ "$("$MONDONGO" member list $EPS | grep -cE ' (voter|leader) ')" = 3 ]; }
until_ok 60 all_vote

who() { # who leader|follower: the address of a member of that role
  "$MONDONGO" status $EPS | awk -v want="$1" '$3 == want {print $1; exit}'
}
name() { local at; at=$(who "$1"); [ -n "$at" ] && echo "m${at: -1}"; }
leader() { name leader; }
follower() { name follower; }
run() { load bench --target mondongo --pids "$(pids)" --conc "$CONC" --reps "$REPS" --secs "$SECS" --keys "$KEYS" "$@"; }

case ${1:-} in
bench)
  to=$(who leader)
  load preload --target mondongo --label "$LABEL" --addr "$to" --kind kv --keys "$KEYS"
  run --label "$LABEL" --addr "$to" --ops "${OPS:-put,get,mix}"
  # The same with clients spread over all three nodes: followers hand writes on, and ask the leader for a slot to read at.
  run --label "$LABEL-spread" --addr $EPS --ops put,get --conc 64
  run --label "$LABEL-local-read" --addr $EPS --set level=local --ops get --conc 64 ;;
docs)
  to=$(who leader)
  load preload --target mondongo --label "$LABEL" --addr "$to" --kind doc --keys "$KEYS"
  run --label "$LABEL" --addr "$to" --ops "${OPS:-find,range,update,insert}" ;;
failover) failover mondongo "$LABEL" $EPS leader follower ;;
up) up $EPS ;;
*) echo "usage: MONDONGO=PROGRAM $0 bench|docs|failover|up" >&2; exit 2 ;;
esac
