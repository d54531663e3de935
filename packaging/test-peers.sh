#!/bin/sh
# Installs the programs that the end-to-end tests use as peers and witnesses, where they are missing.
# Works on Debian and Ubuntu, as root or through sudo. Starts no service. Does nothing when all are there.
set -eu

# command, the package that has it
peers='openssl openssl
curl curl
nginx nginx-light
haproxy haproxy
strace strace
promtool prometheus
dnsmasq dnsmasq-base
prlimit util-linux
cc gcc'

PATH="$PATH:/usr/sbin:/sbin"
missing=$(echo "$peers" | while read -r command package; do
    command -v "$command" >/dev/null || echo "$package"
done)
[ -n "$missing" ] || exit 0

# shellcheck disable=SC2086 # one word a package
set -- $missing
echo "test-peers: installing $*"
if ! command -v apt-get >/dev/null; then
    echo "test-peers: no apt-get here; please install by hand: $*" >&2
    exit 1
fi
as_root=''
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "test-peers: neither root nor sudo; please install by hand: $*" >&2
        exit 1
    fi
    as_root=sudo
fi

# A package's service must not start here: nginx would take port 80. policy-rc.d is what Debian asks before it starts one.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
