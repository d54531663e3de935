#!/bin/sh
# Makes the demonstration certificates that the examples in this folder use, in certs/ beside this script.
# They are for tests on this machine: valid for thirty days, keys unencrypted. Run the script again for new ones.
#
#   ca.pem       the authority that signed the others; give it to curl as --cacert
#   weir.pem     weir's in offload and bridging, for example.com and *.example.com (ECDSA)
#   weir.ocsp    the authority's word that it is good, to be stapled
#   weir-rsa.pem the same names with an RSA key, for clients without ECDSA
#   weir-client.pem weir's towards backends that ask for a certificate
#   backend.pem  a backend's, for the same names, backend.internal and 127.0.0.1
#   clients-ca.pem  another authority, for clients
#   client.pem   a client's, for client.ops.example.com; give it to curl as --cert, and client.key as --key
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p certs
cd certs
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256"
rsa="-newkey rsa:2048"

# authority FILE COMMON-NAME
authority() {
    # shellcheck disable=SC2086 # the key options are several words
    openssl req -x509 $ec -nodes -days 30 -subj "/CN=$2" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$1.key" -out "$1.pem" 2>/dev/null
}
authority ca "weir demonstration authority"
authority clients-ca "weir demonstration authority of clients"

# issue FILE COMMON-NAME NAMES KEY-OPTIONS [AUTHORITY] [PURPOSE]
issue() {
    # shellcheck disable=SC2086
    openssl req $4 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$scratch/$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=%s\n' \
        "$3" "${6:-serverAuth}" >"$scratch/$1.ext"
    openssl x509 -req -days 30 -in "$scratch/$1.csr" -extfile "$scratch/$1.ext" \
        -CA "${5:-ca}.pem" -CAkey "${5:-ca}.key" -CAcreateserial -CAserial "$scratch/serial" -out "$1.pem" 2>/dev/null
}

names="DNS:example.com,DNS:*.example.com"
issue weir "weir" "$names" "$ec"
issue weir-rsa "weir (RSA)" "$names" "$rsa"

serial=$(openssl x509 -noout -serial -in weir.pem)
printf 'V\t491231235959Z\t\t%s\tunknown\t/CN=weir\n' "${serial#serial=}" >"$scratch/index.txt"
openssl ocsp -index "$scratch/index.txt" -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert weir.pem \
    -ndays 30 -noverify -respout weir.ocsp >/dev/null 2>&1

issue weir-client "weir (client)" "DNS:weir.internal" "$ec" ca clientAuth
issue backend "backend" "$names,DNS:backend.internal,IP:127.0.0.1" "$ec"
issue client "client" "DNS:client.ops.example.com" "$ec" clients-ca clientAuth
echo "made $(pwd)/{ca,weir,weir-rsa,weir-client,backend,clients-ca,client}.pem, their keys, and weir.ocsp"
