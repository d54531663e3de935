"""A server and a client of gRPC, on its C++ library. Messages are bytes: no protocol buffers but those of the health service.

  serve ADDR [CERT KEY]     the service `weir.Test` and the health service; prints a JSON line for each call that begins or ends,
                            and obeys lines of its input: `serving`, `not_serving`
  call ADDR NAME CA         every kind of call, one after the other; prints what came back, as JSON
  hold ADDR NAME CA         begins a call that never ends, and prints `held` with its first message
  one ADDR NAME CA          one call; prints its status
"""

import hashlib
import json
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "weir.Test"
# Longer than anything here takes if it happens at all.
PATIENCE = 20
LARGE = bytes(range(256)) * 4096 * 3
PROXY = ("grpc.enable_http_proxy", 0)
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def tell(**facts):
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


def begin(context, method):
    """Tells of a call, and of its end, however it ends."""
    begun = time.monotonic()
    left = context.time_remaining()
    left = left if left is not None and left < 1e9 else None
    fields = {name: value for name, value in context.invocation_metadata() if not name.endswith("-bin")}
    tell(event="begin", method=method, left=left, fields=fields)
    context.add_callback(lambda: tell(event="end", method=method, after=time.monotonic() - begun))
    context.send_initial_metadata([("x-initial", method)])
    context.set_trailing_metadata([("x-trailer", method), ("x-trailer-bin", b"\x00\xff,")])


def unary(request, context):
    begin(context, "Unary")
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such thing: \u00fc")
    return request[::-1]


def down(request, context):
    begin(context, "Down")
    for number in range(int(request)):
        yield str(number).encode()


def up(requests, context):
    begin(context, "Up")
    return b" ".join(digest(request) for request in requests)


def both(requests, context):
    begin(context, "Both")
    for request in requests:
        yield digest(request) if len(request) > 1000 else b"re:" + request


def after(requests, context):
    """Answers only once the client has ended its direction."""
    begin(context, "After")
    count = sum(1 for _ in requests)
    for number in range(count):
        time.sleep(0.1)
        yield str(number).encode()


def early(requests, context):
    """Ends the call while the client's direction is open."""
    begin(context, "Early")
    yield next(requests)


def hang(request, context):
    """Never ends; `first` asks for a message before that."""
    begin(context, "Hang")
    if request == b"first":
        yield b"first"
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait()


def serve(addr, cert=None, key=None):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=80), options=SIZES)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "After": grpc.stream_stream_rpc_method_handler(after),
        "Early": grpc.stream_stream_rpc_method_handler(early),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if cert:
        pair = (open(key, "rb").read(), open(cert, "rb").read())
        server.add_secure_port(addr, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(addr)
    server.start()
    tell(event="ready")
    status = health_pb2.HealthCheckResponse
    for line in sys.stdin:
        servicer.set("", status.SERVING if line.strip() == "serving" else status.NOT_SERVING)
        tell(event="told", status=line.strip())
    server.stop(0)


def channel(addr, name, ca):
    options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name), PROXY, *SIZES]
    return grpc.secure_channel(addr, grpc.ssl_channel_credentials(open(ca, "rb").read()), options)


class Slow:
    """Messages that a caller hands over one by one; `None` ends them."""

    def __init__(self):
        self.ready = threading.Condition()
        self.items = []

    def put(self, item):
        with self.ready:
            self.items.append(item)
            self.ready.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self.ready:
            self.ready.wait_for(lambda: self.items)
            item = self.items.pop(0)
        if item is None:
            raise StopIteration
        return item


def failed(call):
    """The status of a call that must fail, and the seconds that it took."""
    begun = time.monotonic()
    try:
        list(call) if hasattr(call, "__iter__") else call()
    except grpc.RpcError as error:
        return error.code().name, error.details(), time.monotonic() - begun
    return "OK", "", time.monotonic() - begun


def call(addr, name, ca):
    with channel(addr, name, ca) as open_channel:
        path = lambda method: f"/{SERVICE}/{method}"
        one, many, ups, chat = (
            open_channel.unary_unary(path("Unary")),
            open_channel.unary_stream(path("Down")),
            open_channel.stream_unary(path("Up")),
            open_channel.stream_stream(path("Both")),
        )
        found = {}
        answer, made = one.with_call(b"abc", timeout=PATIENCE, metadata=[("x-asked", "yes"), ("x-asked-bin", b"\x00\xfe")])
        trailers = {key: value.hex() if isinstance(value, bytes) else value for key, value in made.trailing_metadata()}
        found["unary"] = [answer.decode(), made.code().name, dict(made.initial_metadata()).get("x-initial"), trailers]
        found["empty"] = one(b"", timeout=PATIENCE).decode()
        found["large"] = one(LARGE, timeout=PATIENCE) == LARGE[::-1]
        found["fails"] = failed(lambda: one(b"fail", timeout=PATIENCE))[:2]
        found["unknown"] = failed(lambda: open_channel.unary_unary(path("None"))(b"", timeout=PATIENCE))[0]
        down = many(b"1000", timeout=PATIENCE)
        found["down"] = [len(list(down)), down.code().name, dict(down.trailing_metadata()).get("x-trailer")]
        answer, made = ups.with_call(iter([b"a", LARGE, b"", b"c"]), timeout=PATIENCE)
        found["up"] = [answer == b" ".join(digest(data) for data in [b"a", LARGE, b"", b"c"]), made.code().name]

        # Both directions at once: each message is sent once the answer to the one before has come.
        asks = Slow()
        talk = chat(asks, timeout=PATIENCE)
        said = []
        for number in range(100):
            asks.put(str(number).encode())
            said.append(next(talk) == b"re:" + str(number).encode())
        for _ in range(4):
            asks.put(LARGE)
        said += [next(talk) == digest(LARGE) for _ in range(4)]
        asks.put(None)
        found["both"] = [all(said), list(talk), talk.code().name, dict(talk.trailing_metadata()).get("x-trailer")]

        late = open_channel.stream_stream(path("After"))(iter([b"x"] * 5), timeout=PATIENCE)
        found["half_closed"] = [[answer.decode() for answer in late], late.code().name]
        asks = Slow()
        asks.put(b"only")
        soon = open_channel.stream_stream(path("Early"))(asks, timeout=PATIENCE)
        found["early"] = [[answer.decode() for answer in soon], soon.code().name]
        asks.put(None)

        crowd = [one.future(str(number).encode(), timeout=PATIENCE) for number in range(60)]
        found["crowd"] = all(each.result() == str(number).encode()[::-1] for number, each in enumerate(crowd))

        endless = open_channel.unary_stream(path("Hang"))
        for message in [b"first", b"none"]:
            found["deadline_" + message.decode()] = failed(endless(message, timeout=0.5))
            held = endless(message)
            if message == b"first":
                next(held)
            else:
                time.sleep(0.5)
            held.cancel()
            found["cancelled_" + message.decode()] = failed(held)[0]
    tell(**found)


def hold(addr, name, ca):
    with channel(addr, name, ca) as open_channel:
        held = open_channel.unary_stream(f"/{SERVICE}/Hang")(b"first")
        next(held)
        tell(event="held")
        code, details, _ = failed(held)
        tell(event="over", code=code, details=details)


def one(addr, name, ca):
    with channel(addr, name, ca) as open_channel:
        ask = open_channel.unary_unary(f"/{SERVICE}/Unary")
        tell(code=failed(lambda: ask(b"x", timeout=PATIENCE))[0])


{"serve": serve, "call": call, "hold": hold, "one": one}[sys.argv[1]](*sys.argv[2:])
