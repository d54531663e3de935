"""A client that says what it hears first: HOST PORT [CONNECTIONS [FROM]]. With "fast" for FROM it sends with its first packet."""
import socket
import sys

host, port, count, source = (sys.argv[1:] + ["1", ""][len(sys.argv) - 3 :])[:4]


def connected():
    if source == "fast":
        stream = socket.socket()
        stream.sendto(b"GET / HTTP/1.1\r\n\r\n", socket.MSG_FASTOPEN, (host, int(port)))
        return stream
    return socket.create_connection((host, int(port)), 5, (source, 0) if source else None)


# All are open at once.
for stream in [connected() for _ in range(int(count))]:
    print(stream.makefile().readline().strip(), flush=True)
