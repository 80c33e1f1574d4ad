#!/bin/sh
# Shows that a program that is not ours sees our mDNS service, and sees it go.
#
#   avahi.sh COMMAND [ARGUMENT...]
#
# COMMAND starts a node in the foreground and ends it on SIGTERM. It runs in a network namespace of its own; Avahi
# runs in a second one at the other end of a cable (veth). Needs root. Exits 0 if Avahi listed the service with its
# TXT record and no longer after the end, 1 if not, 77 with a reason if this machine cannot tell.
set -u

skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*"; exit 1; }

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT...]" >&2; exit 2; }
[ "$(id -u)" = 0 ] || skip "needs root, to make network namespaces"
for tool in ip unshare mount dbus-daemon avahi-daemon avahi-browse; do
	command -v "$tool" >/dev/null || skip "$tool is not installed"
done

ours=ultra-node-$$ theirs=ultra-avahi-$$
work=$(mktemp -d) || exit 1
node='' avahi=''

cleanup() {
	[ -z "$node" ] || kill "$node" 2>/dev/null
	# unshare ignores SIGTERM while it waits for its child, and takes the child with it.
	[ -z "$avahi" ] || kill -KILL "$avahi" 2>/dev/null
	wait
	ip netns del "$ours" 2>/dev/null
	ip netns del "$theirs" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

ip netns add "$ours" 2>"$work/err" || skip "no network namespaces here: $(cat "$work/err")"
ip netns add "$theirs" || skip "no second network namespace"
ip link add cable0 netns "$ours" type veth peer name cable0 netns "$theirs" 2>"$work/err" ||
	skip "no veth here: $(cat "$work/err")"
ip -n "$ours" addr add 10.77.0.1/24 dev cable0
ip -n "$theirs" addr add 10.77.0.2/24 dev cable0
for namespace in "$ours" "$theirs"; do
	ip -n "$namespace" link set lo up
	ip -n "$namespace" link set cable0 up
done

# Avahi and a bus of its own, in namespaces of their own, so that those of the machine are neither needed nor touched.
# The first process of a pid namespace takes all others with it when it ends.
mkdir "$work/run"
cat >"$work/avahi.conf" <<-CONF
	[server]
	host-name=avahi
	allow-interfaces=cable0
	[publish]
	publish-workstation=no
CONF
ip netns exec "$theirs" unshare --mount --pid --fork --kill-child --mount-proc sh -c '
	mkdir -p /run/dbus /run/avahi-daemon
	mount -t tmpfs none /run/dbus && mount -t tmpfs none /run/avahi-daemon || exit 1
	dbus-daemon --system --nofork --nopidfile &
	until [ -S /run/dbus/system_bus_socket ]; do sleep 0.1; done
	exec avahi-daemon --file "$1/avahi.conf" --no-drop-root --no-chroot --no-rlimits
' sh "$work" >"$work/avahi.log" 2>&1 &
avahi=$!

# browse prints the resolved services as Avahi sees them from its own namespaces.
browse() {
	inner=$(cat "/proc/$avahi/task/$avahi/children" 2>/dev/null)
	inner=${inner%% *}
	[ -n "$inner" ] && nsenter --target "$inner" --mount --net timeout 10 avahi-browse -rpt _ultrasockets._tcp
}

tries=0
until grep -q 'Server startup complete' "$work/avahi.log"; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || skip "avahi-daemon does not start here: $(tail -n 5 "$work/avahi.log")"
	sleep 0.1
done

# Its input stays open and empty: some nodes end with it.
mkfifo "$work/stdin"
exec 3<>"$work/stdin"
ip netns exec "$ours" "$@" <&3 >"$work/node.log" 2>&1 &
node=$!

tries=0
until browse >"$work/seen" 2>"$work/err" && grep -q '^=;cable0;IPv4;[0-9a-f]\{16\};_ultrasockets._tcp;local;.*"v=1"' "$work/seen"; do
	tries=$((tries + 1))
	if [ $tries -ge 10 ] || ! kill -0 "$node" 2>/dev/null; then
		cat "$work/node.log" "$work/avahi.log" "$work/seen" "$work/err"
		fail "Avahi does not list the service"
	fi
	sleep 0.2
done
echo "Avahi lists:"
cat "$work/seen"

kill "$node" || fail "the node ended by itself: $(cat "$work/node.log")"
wait "$node"
node=''
# What was taken back is kept for one more second (RFC 6762, section 10.1); without a goodbye it would be 120.
tries=0
while browse >"$work/seen" 2>"$work/err" && [ -s "$work/seen" ]; do
	tries=$((tries + 1))
	if [ $tries -ge 5 ]; then
		cat "$work/seen"
		fail "Avahi still lists the service after its goodbye"
	fi
	sleep 0.5
done
echo "and nothing more after the node's goodbye."
if grep -i 'warn\|invalid\|conflict' "$work/avahi.log"; then
	fail "Avahi complained"
fi
