"""A backend that tells each connection where it comes from, and keeps it open: as a line, or as the answer to a request."""
import socket
import sys
import threading


def tell(stream, peer):
    said = peer[0].removeprefix("::ffff:").partition("%")[0].encode() + b"\n"
    stream.settimeout(0.05)
    try:
        while head := stream.recv(65536):
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
            stream.settimeout(None)
    except TimeoutError:
        stream.sendall(said)
        stream.settimeout(None)
        stream.recv(1)
    except OSError:
        pass
    stream.close()


server = socket.create_server(("", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
while True:
    threading.Thread(target=tell, args=server.accept(), daemon=True).start()
