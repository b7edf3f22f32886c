"""The attacks of scripts/soak, one a process: `soak_attacks.py NAME JOBS STATUS KEY SECONDS`. Prints how often it
tried; that nothing came of it is for others to see. Standard library and the machine's libzmq."""
import ctypes
import os
import pathlib
import random
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))
import curve_peer
import zmtp

HELD, PAUSE_S, FLOOD, ASKED_PER_S = 300, 0.002, 3000, 100
CURVE_GREETING = zmtp.GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32)
SNDTIMEO, LINGER, DONTWAIT, SNDMORE = 28, 17, 1, 2


def connected(address):
    return zmtp.Peer(connected=socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=2))


class Attacker:
    def __init__(self, jobs, status, key):
        self.jobs, self.status, self.key, self.held = jobs, status, key, []
        self.zmq = curve_peer.library()
        self.context = self.zmq.zmq_ctx_new()
        self.random = random.Random(1)

    # -- strangers --------------------------------------------------------------------------------

    def silence(self):
        """Connections that say nothing, the oldest given up for new ones."""
        self.held.append(connected(self.random.choice((self.jobs, self.status))))
        if len(self.held) > HELD:
            self.held.pop(0).socket.close()

    def half_handshakes(self):
        self.silence()
        self.held[-1].send(CURVE_GREETING[:self.random.randrange(64)])

    def noise(self):
        with connected(self.random.choice((self.jobs, self.status))) as peer:
            peer.send(self.random.choice((b"", zmtp.GREETING, CURVE_GREETING)) + os.urandom(self.random.randrange(400)))

    def endless_parts(self):
        with connected(self.jobs) as peer:
            peer.send(CURVE_GREETING)
            for _ in range(100):
                if not peer.send(zmtp.frame(bytes(65000), zmtp.MORE)):
                    break

    # -- keys -------------------------------------------------------------------------------------

    def let_in(self, address):
        peer = self.zmq.zmq_socket(self.context, curve_peer.DEALER)
        for option, value in ((SNDTIMEO, 1000), (LINGER, 0)):
            number = ctypes.c_int(value)
            self.zmq.zmq_setsockopt(peer, option, ctypes.byref(number), 4)
        curve_peer.show_key(self.zmq, peer, self.key)
        self.zmq.zmq_connect(peer, address.encode())
        return peer

    def say(self, peer, body, flags=0):
        return self.zmq.zmq_send(peer, body, len(body), flags) >= 0

    def flood(self, address, body):
        """Much at once, nothing read, and gone."""
        peer = self.let_in(address)
        if self.say(peer, body):
            time.sleep(0.05)  # the handshake, then what is queued goes out in one piece
            for _ in range(FLOOD):
                self.say(peer, body, DONTWAIT)
        self.zmq.zmq_close(ctypes.c_void_p(peer))

    def observer_floods(self):
        self.flood(self.status, curve_peer.REQUEST)

    def observer_asks(self):
        self.held = self.held or [self.let_in(self.status)]
        self.say(self.held[0], curve_peer.REQUEST)
        answer = ctypes.create_string_buffer(1 << 16)
        while self.zmq.zmq_recv(self.held[0], answer, len(answer), DONTWAIT) > 0:
            pass
        time.sleep(1 / ASKED_PER_S)

    def worker_floods(self):
        self.flood(self.jobs, b"garbage")

    def worker_lies(self):
        """Who it is, in many ways, and what nobody asked for."""
        peer = self.let_in(self.jobs)
        name = f"liar{self.random.randrange(4)}"
        for hello in (zmtp.hello(worker=name), zmtp.hello(protocol=1, worker=name), zmtp.hello(worker=name, slots=60)):
            self.say(peer, hello)
            self.say(peer, bytes(b ^ (self.random.random() < 0.02) for b in hello))
        self.say(peer, zmtp.text(self.random.randrange(2, 20), zmtp.number(1, self.random.getrandbits(60))), SNDMORE)
        self.say(peer, os.urandom(100))
        time.sleep(0.05)  # the handshake, then all of it goes out
        self.zmq.zmq_close(ctypes.c_void_p(peer))


NAMES = {"silence": "stranger", "half_handshakes": "stranger", "noise": "stranger", "endless_parts": "stranger",
         "observer_floods": "observer", "observer_asks": "observer", "worker_floods": "worker", "worker_lies": "worker"}


def main(name, jobs, status, key, seconds):
    attacker, tries = Attacker(jobs, status, key), 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        try:
            getattr(attacker, name)()
        except OSError:  # turned away before it began
            pass
        tries += 1
        time.sleep(PAUSE_S)  # the pace: others live on this machine
    print(tries, flush=True)
    os._exit(0)  # whatever libzmq still holds


if __name__ == "__main__":
    main(*sys.argv[1:])
