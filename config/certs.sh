#!/bin/sh
# Makes the demonstration certificates that the examples in this folder use, in certs/ beside this script.
# They are for trying things out on this machine: thirty days, keys in the clear. Run it again for new ones.
#
#   ca.pem       the authority that signed the others; give it to curl as --cacert
#   weir.pem     what weir shows in offload and bridging, for example.com and *.example.com (ECDSA)
#   weir-rsa.pem the same names with an RSA key, for clients that know no ECDSA
#   backend.pem  what a backend shows, for the same names, backend.internal and 127.0.0.1
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p certs
cd certs
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256"
rsa="-newkey rsa:2048"

# shellcheck disable=SC2086 # the key options are several words
openssl req -x509 $ec -nodes -days 30 -subj "/CN=weir demonstration authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout ca.key -out ca.pem 2>/dev/null

# issue FILE COMMON-NAME NAMES KEY-OPTIONS
issue() {
    # shellcheck disable=SC2086
    openssl req $4 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$scratch/$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n' \
        "$3" >"$scratch/$1.ext"
    openssl x509 -req -days 30 -in "$scratch/$1.csr" -extfile "$scratch/$1.ext" \
        -CA ca.pem -CAkey ca.key -CAcreateserial -CAserial "$scratch/serial" -out "$1.pem" 2>/dev/null
}

names="DNS:example.com,DNS:*.example.com"
issue weir "weir" "$names" "$ec"
issue weir-rsa "weir (RSA)" "$names" "$rsa"
issue backend "backend" "$names,DNS:backend.internal,IP:127.0.0.1" "$ec"
echo "made $(pwd)/{ca,weir,weir-rsa,backend}.pem and their keys"
