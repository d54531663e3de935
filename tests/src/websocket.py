"""A WebSocket client: echoes of all kinds, pings, a close. Arguments: the address, the name, the file of the authority."""

import asyncio
import ssl
import sys

import websockets

address, port, name, authority = sys.argv[1:]


async def main() -> None:
    context = ssl.create_default_context(cafile=authority)
    url = f"wss://{name}:{port}/echo?a=b"
    connecting = websockets.connect(
        url, host=address, ssl=context, server_hostname=name, subprotocols=["chat"], max_size=1 << 26
    )
    async with connecting as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        await asyncio.wait_for(await socket.ping(b"still there?"), 10)
        for message in ["grüße", "", b"", b"\x00\xff" * 70_000, "x" * 5_000_000, bytes(10_000_000)]:
            await socket.send(message)
            assert await socket.recv() == message, len(message)
        await socket.send(part for part in ["in ", "three ", "parts"])
        assert await socket.recv() == "in three parts"
        # Many at once, in both directions.
        sent = [f"{n} ".encode() * 500 for n in range(2_000)]

        async def send() -> None:
            for message in sent:
                await socket.send(message)

        sending = asyncio.create_task(send())
        assert [await socket.recv() for _ in sent] == sent
        await sending
        await socket.send("bye")
        await socket.wait_closed()
        print(f"closed {socket.close_code} {socket.close_reason}")


asyncio.run(asyncio.wait_for(main(), 50))
