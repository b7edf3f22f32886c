"""A siege: everybody who may not come in tries, all at once and without end, while honest workers train. They
are refused and counted, the coordinator's memory stays small, no worker is lost, the adapter is that of the
quiet run. Standard library only; every wait is for a condition with a deadline.
"""
import json
import os
import socket
import subprocess
import sys
import threading
import unittest

import zmtp
from fleet import BIN, DEADLINE, MODEL, SLOW, STEPS, wait_for
from keyed_fleet import MIB, KeyedFleetCase

SIEGE_STEPS = 3 * STEPS
HALF_OPEN = 64  # half handshakes at a time
CURVE_GREETING = zmtp.GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32)


class Attacker(threading.Thread):
    """Repeats one attack until told to stop; times that it was repelled, and what went wrong."""

    def __init__(self, name, attack, stop):
        super().__init__(name=name, daemon=True)
        self.attack, self.stop, self.repelled, self.wrong = attack, stop, 0, None

    def run(self):
        while not self.stop.is_set() and self.wrong is None:
            try:
                self.repelled += self.attack()
            except OSError as error:  # once the siege is over nobody need be there to connect to
                self.wrong = None if self.stop.is_set() else repr(error)
            except AssertionError as error:
                self.wrong = str(error)


class Siege(KeyedFleetCase):
    def setUp(self):
        super().setUp()
        self.stop, self.attackers = threading.Event(), []

    def tearDown(self):
        self.end_siege()
        super().tearDown()

    def end_siege(self):
        self.stop.set()
        for attacker in self.attackers:
            attacker.join(DEADLINE)

    def program(self, code, says, *words):
        """An attack by one of our own programs: it must end with that code and say why."""
        def attack():
            done = subprocess.run([os.path.join(BIN, words[0]), *words[1:]], capture_output=True, text=True,
                                  timeout=DEADLINE, check=False, cwd=self.folder)
            if self.stop.is_set():
                return 0  # the coordinator may be gone by now
            self.assertEqual(done.returncode, code, f"{words}: {done.stdout}{done.stderr}")
            self.assertIn(says, done.stdout + done.stderr)
            return 1
        return attack

    def parts(self, greeting):
        """Parts without end behind a greeting; one connection after the other."""
        port = int(self.address()["jobs"].rsplit(":", 1)[1])

        def attack():
            with self.raw(port) as peer:
                peer.send(greeting)
                sent = self.flood(peer, 65000)
                self.assertTrue(self.stop.is_set() or (sent < 64 * MIB and peer.closed()), f"{sent} bytes went out")
                return 1
        return attack

    @staticmethod
    def raw(port):
        return zmtp.Peer(connected=socket.create_connection(("127.0.0.1", port), timeout=20))

    def half_handshakes(self):
        """Connections that begin a handshake and leave it at that, many at a time."""
        port = int(self.address()["jobs"].rsplit(":", 1)[1])

        def attack():
            peers = [self.raw(port) for _ in range(HALF_OPEN)]
            for i, peer in enumerate(peers):
                peer.send(CURVE_GREETING[:i])
            closed = [peer.closed() for peer in peers]
            for peer in peers:
                peer.socket.close()
            self.assertTrue(self.stop.is_set() or all(closed), "a half handshake is still open")
            return sum(closed)
        return attack

    def attacks(self, coordinator):
        jobs, status = self.address()["jobs"], self.address()["status"]
        other = os.path.join(self.folder, "other")
        self.pft("keys", "init", other)
        foreign, stranger, revoked = self.key("foreign", folder=other), self.key("stranger"), self.key("revoked")
        self.pft("keys", "revoke", self.keys, "revoked")
        os.unlink(os.path.join(self.keys, "allowed", "stranger.pub"))
        wait_for("the revocation", lambda: "keys known=" in coordinator.text())
        worker = ["pft-worker", jobs, "--model", MODEL, "--give-up-after", "1"]
        yield "stranger", self.program(3, "does not let this key in", *worker, "--id", "s", "--key", stranger)
        yield "revoked key", self.program(3, "does not let this key in", *worker, "--id", "r", "--key", revoked)
        yield "wrong key", self.program(4, "belongs to another", *worker, "--id", "f", "--key", foreign)
        yield "plain client", self.program(4, "asks for a key", *worker, "--id", "p")
        yield "status asked by a stranger", self.program(3, "does not let key", "pft", "status", status, "--key",
                                                          stranger)
        yield "endless parts in plain", self.parts(zmtp.GREETING)
        yield "endless parts for a handshake", self.parts(CURVE_GREETING)
        yield "half handshakes", self.half_handshakes()

    def watched(self, key):
        """The status, asked over tcp by an observer; None once the coordinator is gone."""
        address = self.address().get("status", "tcp://127.0.0.1:1")
        shown = subprocess.run([os.path.join(BIN, "pft"), "status", address, "--json", "--key", key],
                               capture_output=True, text=True, check=False, timeout=DEADLINE)
        return json.loads(shown.stdout) if shown.returncode == 0 else None

    def peaceful(self, *sets):
        run = os.path.join(self.folder, "peace")
        coordinator = self.coordinator(*sets, name="peace-coordinator", run=run)
        self.worker("peace-worker", address=self.address(run)["jobs"])
        self.assertEqual(coordinator.end(), 0, coordinator.text()[-2000:])
        return self.adapter(run)

    def test_all_who_may_not_come_in_try_at_once_and_harm_nobody(self):
        sets = ["--set", f"train.max_steps={SIEGE_STEPS}"]
        expected = self.peaceful(*sets)
        watcher = self.key("watcher", "observer")
        honest_keys = [self.key(f"honest{i}") for i in range(2)]
        coordinator = self.keyed(*sets)
        before = self.memory(coordinator)
        for name, attack in self.attacks(coordinator):
            self.attackers.append(Attacker(name, attack, self.stop))
        for attacker in self.attackers:
            attacker.start()
        wait_for("everybody to be repelled once", lambda: all(a.repelled or a.wrong for a in self.attackers))
        at_start = {a.name: a.repelled for a in self.attackers}
        workers = [self.worker(f"w{i}", "--key", key) for i, key in enumerate(honest_keys)]
        seen = []

        def trained():
            told = sum(a.repelled for a in self.attackers)  # before the status that must have counted them
            shown = self.watched(watcher)
            if shown:
                seen.append((told, shown["refused"], self.memory(coordinator, "VmHWM")))
            return shown and shown["step"]["committed"] >= SIEGE_STEPS - STEPS
        wait_for("the run to be nearly over", lambda: not coordinator.running() or trained())
        during = {a.name: a.repelled - at_start[a.name] for a in self.attackers}
        self.end_siege()
        self.assertEqual(self.finish(coordinator), expected)
        self.assertEqual([w.end() for w in workers], [0, 0])
        told, refused, peak = seen[-1]
        print(f"repelled while honest workers trained: {during}; {refused} connections counted as refused; "
              f"{(peak - before) // MIB} MiB more at the peak")
        self.assertEqual([a.wrong for a in self.attackers if a.wrong], [])
        self.assertGreater(sum(n > 0 for n in during.values()), len(during) // 2, during)
        self.assertGreaterEqual(refused, told, "every attempt is counted")
        self.assertLess(peak - before, (400 if SLOW else 64) * MIB)
        for word in ("worker_gone", "worker_unreachable", "run_failed"):
            self.assertNotIn(word, coordinator.text())


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
