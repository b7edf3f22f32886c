"""Peers that may connect and mean harm: they flood and hang up, use up descriptors, leave in the middle of a
handshake. The coordinator lives, trains on and says of each what it was. Standard library only; every wait is
for a condition with a deadline."""
import os
import re
import signal
import socket
import sys
import time
import unittest

import zmtp
from fleet import BIN, FleetCase, wait_for
from keyed_fleet import KeyedFleetCase

CLIENTS, ROUNDS, MESSAGES = 20, 6, 3000
DESCRIPTORS, STRANGERS, SIEGE_STEPS = 256, 400, 12
ENDLESS = ["--set", "train.max_steps=40000"]
PING = zmtp.frame(b"\x04PING\0\0", zmtp.COMMAND)
FLOOD = 100 * zmtp.frame(zmtp.number(1, 1)) + PING  # requests of the status; garbage on the job socket


def connected(address):
    if address.startswith("ipc://"):
        return zmtp.Peer(path=address[6:])
    return zmtp.Peer(connected=socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=20))


class Floods(FleetCase):
    def end_early(self, coordinator):
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5, coordinator.text()[-2000:])

    def goes_on(self, coordinator):
        """A step after this moment, or the end."""
        seen = self.status()
        wait_for("one more step", lambda: not coordinator.running() or
                 self.committed((seen["step"]["committed"] if seen else 0) + 1))
        self.assertTrue(coordinator.running(), coordinator.text()[-2000:])

    def flooded(self, coordinator, address):
        """More than a receive queue holds and pings in between, nothing is read, and gone."""
        self.worker("w")
        self.goes_on(coordinator)
        for _ in range(ROUNDS):
            peers = [connected(address) for _ in range(CLIENTS)]
            for peer in peers:
                try:
                    peer.greet()
                    peer.socket.settimeout(0.1)
                    peer.send(FLOOD * (MESSAGES // 100))
                except (EOFError, TimeoutError):  # hung up on, or it reads no more
                    pass
            for peer in peers:
                peer.socket.close()
            self.goes_on(coordinator)
        self.end_early(coordinator)

    def test_a_flood_of_the_status_over_ipc_ends_nothing(self):
        coordinator = self.coordinator(*ENDLESS)
        self.flooded(coordinator, self.address()["status"])

    def test_a_flood_of_the_status_over_tcp_ends_nothing(self):
        coordinator = self.coordinator(*ENDLESS, "--status", "tcp://127.0.0.1:*")
        self.flooded(coordinator, self.address()["status"])

    def test_a_flood_of_the_job_socket_ends_nothing(self):
        coordinator = self.coordinator(*ENDLESS, "--bind", "tcp://127.0.0.1:*")
        self.flooded(coordinator, self.address()["jobs"])

    def test_who_hangs_up_in_a_handshake_is_named_as_that(self):
        coordinator = self.coordinator(*ENDLESS)
        for i in range(5):
            with connected(self.address()["status"]) as peer:
                peer.send(zmtp.GREETING[:12 * i])
                peer.receive(1)
        wait_for("the word about it", lambda: "hung_up_early connections=" in coordinator.text())
        self.assertEqual(self.status()["refused"], 0)
        self.assertNotIn("turned_away", coordinator.text())
        self.end_early(coordinator)


class Strangers(KeyedFleetCase):
    def limited(self, *words):
        """A keyed coordinator that has few descriptors and may leave a core file."""
        command = [os.path.join(BIN, "pft-coordinator"), self.config, "--out", self.run_folder, "--keys", self.keys,
                   "--bind", "tcp://127.0.0.1:*", *words]
        limits = f"ulimit -c unlimited; ulimit -n {DESCRIPTORS}; exec \"$@\""
        child = self.start("coordinator", "/bin/sh", "-c", limits, "sh", *command)
        wait_for("address.json", lambda: not child.running() or self.address().get("pid") == child.process.pid)
        self.assertTrue(child.running(), child.text()[-2000:])
        return child

    def test_a_core_file_holds_no_secret_key(self):
        with open("/proc/sys/kernel/core_pattern", encoding="ascii") as f:
            pattern = f.read().strip()
        if pattern.startswith(("|", "/")):
            self.skipTest(f"core files go elsewhere here: {pattern}")
        coordinator = self.limited("--set", "train.max_steps=40000")
        coordinator.send(signal.SIGABRT)
        self.assertEqual(coordinator.end(), -signal.SIGABRT)
        with open(os.path.join(self.keys, "server.key"), encoding="ascii") as f:
            secret = bytes.fromhex(re.search(r"^secret (\w+)", f.read(), re.MULTILINE).group(1))
        for name in os.listdir(self.folder):
            if name.startswith("core"):
                with open(os.path.join(self.folder, name), "rb") as f:
                    self.assertNotIn(secret, f.read(), name)

    def test_a_stranger_who_takes_all_descriptors_ends_nothing(self):
        node = self.key("node")
        coordinator = self.limited("--set", "train.max_steps=40000", "--set", "checkpoint.steps=1")
        self.worker("w", "--key", node)
        wait_for("a step", lambda: self.committed(1))
        port = int(self.address()["jobs"].rsplit(":", 1)[1])
        held, begin, first, tries = [], time.monotonic(), self.status()["step"]["committed"], 0

        def steps():
            return [int(n) for n in re.findall(r" step step=(\d+)", coordinator.text())][-1]

        def attacked():
            nonlocal tries
            for _ in range(50):
                tries += 1
                try:
                    held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
                except OSError:  # its backlog is full
                    break
            while len(held) > STRANGERS:
                held.pop(0).close()
            return not coordinator.running() or (steps() >= first + SIEGE_STEPS and tries > 4 * DESCRIPTORS)
        try:
            wait_for("steps under attack", attacked)
        finally:
            for one in held:
                one.close()
        self.assertTrue(coordinator.running(), coordinator.text()[-2000:])
        print(f"{tries} connections in {time.monotonic() - begin:.1f} s, {steps() - first} steps meanwhile")
        late = self.worker("late", "--key", self.key("late"))
        wait_for("an honest worker to get in", lambda: "worker_joined worker=late" in coordinator.text())
        self.assertTrue(late.running(), late.text())
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5, coordinator.text()[-2000:])


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
