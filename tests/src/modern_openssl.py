"""A TLS client and an authority on OpenSSL 3.5 or later, which pyOpenSSL brings along: Debian 12's openssl is older.

  issue FOLDER KIND NAME         FOLDER/ca.pem, and FOLDER/weir.pem and weir.key: an authority and a certificate for NAME, both of KIND
  connect ADDR NAME CA           a handshake, then `ping`; prints the version of OpenSSL and what was agreed, as JSON
"""

import datetime
import json
import os
import socket
import sys

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL


def certificate(subject, key, issuer, issuer_key, extension):
    now = datetime.datetime.now(datetime.timezone.utc)
    name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
    return builder.add_extension(extension, critical=False).sign(issuer_key, None).public_bytes(serialization.Encoding.PEM)


def issue(folder, kind, name):
    kinds = {"44": mldsa.MLDSA44PrivateKey, "65": mldsa.MLDSA65PrivateKey, "87": mldsa.MLDSA87PrivateKey}
    authority, key = kinds[kind].generate(), kinds[kind].generate()
    root = certificate("root", authority, "root", authority, x509.BasicConstraints(ca=True, path_length=None))
    leaf = certificate(name, key, "root", authority, x509.SubjectAlternativeName([x509.DNSName(name)]))
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, data in [("ca.pem", root), ("weir.pem", leaf + root), ("weir.key", encoded)]:
        with open(os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(data)


def connect(address, name, authority):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(authority)
    context.set_verify(SSL.VERIFY_PEER, lambda *outcome: bool(outcome[-1]))
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), timeout=20)
    stream.settimeout(None)  # pyOpenSSL takes a socket with a timeout for one that does not block.
    connection = SSL.Connection(context, stream)
    connection.set_tlsext_host_name(name.encode())
    connection.set_connect_state()
    connection.do_handshake()
    connection.sendall(b"ping")
    shown = connection.get_peer_certificate(as_cryptography=True)
    print(json.dumps({
        "openssl": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode(),
        "version": connection.get_protocol_version_name(),
        "key": type(shown.public_key()).__name__,
        "signed": shown.signature_algorithm_oid.dotted_string,
        "echo": connection.recv(4).decode(),
    }))
    connection.shutdown()


{"issue": issue, "connect": connect}[sys.argv[1]](*sys.argv[2:])
