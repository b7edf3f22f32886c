"""ZMTP 3 (NULL mechanism) over a Unix socket, by hand, and just enough protobuf: what a peer that
is no pft program could send. Standard library only; used by tests, says nothing by itself."""
import socket
import struct
import threading

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4
PROTOCOL = 5  # WIRE_PROTOCOL of common/wire/message.h


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def text(field, value):
    raw = value if isinstance(value, bytes) else value.encode()
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def hello(protocol=PROTOCOL, worker="stranger", slots=1, model_hash="0" * 64):
    """A header frame with a Hello, as proto/pft.proto lays it out."""
    body = (number(1, protocol) + text(2, worker) + varint(3 << 3 | 1) + struct.pack("<Q", 7) +
            text(4, "host") + number(5, slots) + number(6, 7) + text(7, "Haswell") +
            text(8, model_hash) + text(9, "0" * 32) + text(10, "0.1.0"))
    return text(1, body)


def frame(body, flags=0):
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


class Peer:
    """One connection. Everything has a deadline; a peer that hangs up is no error."""

    def __init__(self, path=None, deadline_s=20, connected=None):
        self.socket = connected or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(deadline_s)
        if not connected:
            self.socket.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, raw):
        """True when the bytes went out, False when the other side had closed."""
        try:
            self.socket.sendall(raw)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def receive(self, count):
        got = b""
        while len(got) < count:
            try:
                part = self.socket.recv(count - len(got))
            except ConnectionResetError:
                part = b""
            if not part:
                raise EOFError(got)
            got += part
        return got

    def greet(self, kind="DEALER", identity=b""):
        """The whole handshake, as a socket of that kind and name."""
        self.send(GREETING)
        self.receive(64)
        ready = b"\x05READY"
        for name, value in ((b"Socket-Type", kind.encode()), (b"Identity", identity)):
            ready += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
        self.send(frame(ready, COMMAND))
        self.read_frame(commands=True)
        return self

    def read_frame(self, commands=False):
        """Body of the next message frame (of the next command when asked), pings skipped."""
        while True:
            flags = self.receive(1)[0]
            size = struct.unpack(">Q", self.receive(8))[0] if flags & LONG else self.receive(1)[0]
            body = self.receive(size)
            if bool(flags & COMMAND) == commands:
                return body

    def message(self, *frames):
        return self.send(b"".join(frame(body, MORE if i + 1 < len(frames) else 0)
                                  for i, body in enumerate(frames)))

    def closed(self):
        """Waits until the other side hangs up; False when it does not within the deadline."""
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


class Server:
    """Greets whoever connects as a ROUTER and answers each message frame with the same bytes."""

    def __init__(self, path, reply):
        self.path, self.reply, self.answered = path, reply, 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(path)
        self.socket.listen(16)

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def accept(self):
        while True:
            try:
                connected = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def serve(self, connected):
        with Peer(connected=connected) as peer:
            try:
                peer.greet("ROUTER")
                while peer.read_frame() is not None:
                    peer.message(self.reply)
                    self.answered += 1
            except (EOFError, OSError):
                pass
