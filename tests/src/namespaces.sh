#!/bin/sh
# Three networks: a client's and a backend's in namespaces of their own, and between them that of this script, in which
# weir runs. The words are the folder for its files, weir's program, and the commands of the scenario. All of it ends with
# the script.
#
#                10.9.1.2 c1 ── c0 10.9.1.1           10.9.2.1 b0 ── b1 10.9.2.2
#   client      fd09:1::2          fd09:1::1   weir  fd09:2::1          fd09:2::2   backend
#                fe80::12          fe80::11          fe80::21          fe80::22
set -eu
folder=$1
weir=$2
scenario=$3

mount -t tmpfs none /run
# Each end of a cable: its network, its name, its number.
cable() {
    ip netns add "$1"
    ip link add "$2"0 type veth peer name "$2"1 netns "$1"
    for end in "0 1" "1 2"; do
        # shellcheck disable=SC2086 # two words
        set -- "$1" "$2" "$3" $end
        within=
        [ "$4" = 0 ] || within="ip netns exec $1"
        $within ip addr add "10.9.$3.$5/24" dev "$2$4"
        $within ip addr add "fd09:$3::$5/64" dev "$2$4" nodad
        # Not one that comes from the hardware address, which is random.
        $within sh -c "echo 1 >/proc/sys/net/ipv6/conf/$2$4/addr_gen_mode"
        $within ip addr add "fe80::$3$5/64" dev "$2$4" nodad
        $within ip link set "$2$4" up
    done
    ip netns exec "$1" ip link set lo up
    ip netns exec "$1" ip route add default via "10.9.$3.1"
    ip netns exec "$1" ip -6 route add default via "fd09:$3::1"
}
ip link set lo up
cable client c 1
cable backend b 2

# Answers to clients come back here: what arrives from the backends is for sockets of this machine.
for family in -4 -6; do
    ip $family rule add iif b0 lookup 100
done
ip -4 route add local 0.0.0.0/0 dev lo table 100
ip -6 route add local ::/0 dev lo table 100
for one in all b0 c0; do
    echo 0 >"/proc/sys/net/ipv4/conf/$one/rp_filter"
done
echo 3 >/proc/sys/net/ipv4/tcp_fastopen

in_network() {
    at=$1
    shift
    ip netns exec "$at" "$@"
}
# Waits until a command succeeds, for ten seconds.
soon() {
    for _ in $(seq 100); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "never: $*" >&2
    return 1
}
# Starts weir with the configuration in the folder.
weir_runs() {
    "$weir" run -c weir.yaml >records 2>weir.log &
    soon grep -q 'weir runs' weir.log || cat weir.log >&2
}
# What a client hears from weir at this address and port: from where its connections to the backend come. A third word is
# the number of connections at once, a fourth the address that the client comes from.
hear() {
    in_network client python3 hear.py "$@"
}
cd "$folder"
for port in 9000 9001; do
    in_network backend python3 mirror.py "$port" &
    soon in_network backend python3 hear.py 10.9.2.2 "$port"
done
eval "$scenario"
