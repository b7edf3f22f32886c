"""A relay between workers and a coordinator, in a thread: the network of scripts/chaos.

A link listens beside its worker and goes on to the coordinator, job channel and tensor channel alike. While it
runs it can be slowed down, held in one direction, or cut. It reads along, just enough of ZMTP 3 and protobuf
to count bytes, units handed out and units computed. Standard library only.
"""
import asyncio
import struct
import threading

GREETING_BYTES = 64
MORE, LONG, COMMAND = 1, 2, 4
JOB, RESULT_READY = 7, 10  # fields of Header in proto/pft.proto
GRADIENT = 1
QUEUE_PIECES, PIECE_BYTES = 64, 1 << 16


def fields(data):
    """(number, value) of each field of a protobuf message; fixed64 and varint as int, the rest as bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif kind == 5:
            value, at = data[at:at + 4], at + 4
        else:
            size = varint()
            value, at = bytes(data[at:at + size]), at + size
        yield key >> 3, value


class Frames:
    """The first frame of every message that goes by on one connection in one direction."""

    def __init__(self):
        self.left = GREETING_BYTES  # of what is skipped or kept now
        self.head = None            # bytes of a frame's head so far
        self.kept = None            # bytes of a header frame so far
        self.flags, self.inside = 0, False

    def feed(self, data):
        at, found = 0, []
        while at < len(data):
            if self.left > 0:
                piece = data[at:at + self.left]
                at += len(piece)
                self.left -= len(piece)
                if self.kept is not None:
                    self.kept += piece
            else:
                self.head = (self.head or b"") + data[at:at + 1]
                at += 1
                if len(self.head) < (9 if self.head[0] & LONG else 2):
                    continue
                self.begin()
            if self.left == 0 and self.head is None and self.kept is not None:
                found.append(bytes(self.kept))
                self.kept = None
        return found

    def begin(self):
        self.flags = self.head[0]
        self.left = struct.unpack(">Q", self.head[1:])[0] if self.flags & LONG else self.head[1]
        self.head = None
        if not self.flags & COMMAND:
            self.kept = None if self.inside else bytearray()
            self.inside = bool(self.flags & MORE)


class Tally:
    """What went over all links of a fleet."""

    def __init__(self):
        self.bytes = {"up": 0, "down": 0}
        self.units_sent = 0   # in jobs handed out
        self.results = set()  # (job, attempt) of every gradient announced
        self.units_done = 0   # in those
        self.units = set()    # different ones

    def read(self, header):
        for kind, body in fields(header):
            if kind == JOB:
                self.units_sent += dict(fields(body)).get(8, 0)
            elif kind == RESULT_READY:
                self.read_result(list(fields(body)))

    def read_result(self, found):
        last = dict(found)
        key = (last.get(2), last.get(9))
        if last.get(4) == GRADIENT and key not in self.results:
            rows = [dict(fields(value)).get(1, 0) for number, value in found if number == 5]
            self.results.add(key)
            self.units_done += len(rows)
            self.units.update(rows)


class Link:
    """One worker's way to the coordinator; the attributes may be set from any thread."""

    def __init__(self, relay, address):
        self.relay, self.address = relay, address
        self.delay_s = 0.0
        self.held = {"up": False, "down": False}
        self.writers = set()

    def heal(self):
        self.delay_s = 0.0
        self.held = {"up": False, "down": False}

    def cut(self):
        self.relay.loop.call_soon_threadsafe(lambda: [w.transport.abort() for w in list(self.writers)])


def tensor_of(address):
    """The rule of common/net/address.h: an ipc path with a suffix, the next port."""
    if address.startswith("ipc://"):
        return address + ".tensors"
    host, port = address.rsplit(":", 1)
    return f"{host}:{int(port) + 1}"


async def connect(address):
    if address.startswith("ipc://"):
        return await asyncio.open_unix_connection(address[6:])
    host, port = address[6:].rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


async def listen(serve, address):
    if address.startswith("ipc://"):
        return await asyncio.start_unix_server(serve, address[6:])
    host, port = address[6:].rsplit(":", 1)
    return await asyncio.start_server(serve, host, int(port))


class Relay:
    """Every link of a fleet. open() from any thread; close() ends the thread."""

    def __init__(self, upstream):
        self.upstream, self.tally = upstream, Tally()
        self.tasks, self.servers = set(), []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def open(self, address):
        link = Link(self, address)
        for ours, theirs in ((address, self.upstream), (tensor_of(address), tensor_of(self.upstream))):
            made = asyncio.run_coroutine_threadsafe(listen(self.server(link, theirs), ours), self.loop)
            self.servers.append(made.result(10))
        return link

    def close(self):
        async def stop():
            for server in self.servers:
                server.close()
            for task in list(self.tasks):
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def server(self, link, upstream):
        async def serve(reader, writer):
            task = asyncio.current_task()
            self.tasks.add(task)
            ends = {writer}
            link.writers.add(writer)
            try:
                far_reader, far_writer = await connect(upstream)
                ends.add(far_writer)
                link.writers.add(far_writer)
                ways = [asyncio.ensure_future(way) for way in (
                    *self.pump(reader, far_writer, link, "up"), *self.pump(far_reader, writer, link, "down"))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            except OSError:
                pass  # nobody listens there now: the worker comes again
            except asyncio.CancelledError:
                pass  # the relay is closed
            finally:
                for end in ends:
                    link.writers.discard(end)
                    end.transport.abort()
                self.tasks.discard(task)
        return serve

    def pump(self, reader, writer, link, way):
        queue, frames = asyncio.Queue(QUEUE_PIECES), Frames()

        async def take():
            while True:
                data = await reader.read(PIECE_BYTES)
                if not data:
                    await queue.put((0, b""))
                    await asyncio.Future()  # until what is under way has gone out
                self.tally.bytes[way] += len(data)
                for header in frames.feed(data):
                    self.tally.read(header)
                await queue.put((self.loop.time() + link.delay_s, data))

        async def give():
            while True:
                due, data = await queue.get()
                if not data:
                    return
                await asyncio.sleep(max(0.0, due - self.loop.time()))
                while link.held[way]:
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
        return take(), give()
