"""Two hosts, as network namespaces that the test makes for itself and joins with a veth pair: a keyed fleet
trains across them, also when the link is cut for seconds, and ends with the adapter of the quiet run.
Where namespaces are not permitted it is skipped and says so. Standard library only.
"""
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import curve_peer
from fleet import BIN, MODEL, wait_for
from keyed_fleet import KeyedFleetCase, descriptors

LINK = "pft0"  # its name on either side
HERE, THERE = "10.213.57.1", "10.213.57.2"
JOBS, STATUS = f"tcp://{HERE}:5555", f"tcp://{HERE}:5557"


def ip(*words, check=True):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check, timeout=20)


class Hosts:
    """Two namespaces with a link between them; nothing else reaches into either."""

    def __init__(self):
        self.names = [f"pft{os.getpid()}{side}" for side in "ab"]
        self.made = []

    def open(self):
        """None, or why it is not possible here."""
        if os.geteuid() != 0 or not shutil.which("ip"):
            return "network namespaces need root and ip"
        for name in self.names:
            made = ip("netns", "add", name, check=False)
            if made.returncode != 0:
                return f"ip netns add: {made.stderr.strip()}"
            self.made.append(name)
        made = ip("-n", self.names[0], "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns",
                  self.names[1], check=False)
        if made.returncode != 0:
            return f"a veth pair: {made.stderr.strip()}"
        for name, address in zip(self.names, (HERE, THERE)):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", LINK)
            ip("-n", name, "link", "set", LINK, "up")
            ip("-n", name, "link", "set", "lo", "up")
        return None

    def link(self, state):
        ip("-n", self.names[1], "link", "set", LINK, state)

    def close(self):
        for name in self.made:
            ip("netns", "del", name, check=False)


class Namespaces(KeyedFleetCase):
    def setUp(self):
        super().setUp()
        self.hosts = Hosts()
        self.addCleanup(self.hosts.close)
        why = self.hosts.open()
        if why:
            self.skipTest(why)

    def on(self, host, label, program, *words):
        """A program on host 0 or 1; ip becomes that program, so pid and exit code are its own."""
        return self.start(label, shutil.which("ip"), "netns", "exec", self.hosts.names[host],
                          os.path.join(BIN, program), *words)

    def served(self, *words):
        child = self.on(0, "coordinator", "pft-coordinator", self.config, "--out", self.run_folder, "--keys", self.keys,
                        "--bind", JOBS, *words)
        wait_for("address.json", lambda: not child.running() or self.address().get("pid") == child.process.pid)
        self.assertTrue(child.running(), child.text()[-2000:])
        return child

    def fleet(self, n):
        return [self.on(1, f"w{i}", "pft-worker", JOBS, "--model", MODEL, "--id", f"w{i}", "--key", self.key(f"n{i}"))
                for i in range(n)]

    def test_a_keyed_fleet_trains_across_two_hosts(self):
        coordinator = self.served()
        plain = self.on(1, "plain", "pft-worker", JOBS, "--model", MODEL, "--give-up-after", "1")
        self.assertEqual(plain.end(), 4, plain.text())
        workers = self.fleet(2)
        self.assertEqual(self.finish(coordinator), self.quiet())
        self.assertEqual([w.end() for w in workers], [0, 0])

    def test_an_operator_stops_a_run_from_another_host(self):
        operator = self.key("boss", "operator")
        coordinator = self.served("--status", STATUS, "--set", "train.max_steps=4000")
        stop = self.on(1, "stop", "pft", "stop", STATUS, "--key", operator)
        self.assertEqual(stop.end(), 0, stop.text())
        self.assertEqual(coordinator.end(), 5)

    def test_a_cut_link_costs_time_and_nothing_else(self):
        coordinator = self.served()
        workers = self.fleet(2)
        wait_for("2 steps", lambda: self.committed(2))
        self.hosts.link("down")
        begin = time.monotonic()
        gone = "nothing was heard of it"
        wait_for("both workers to be missed", lambda: coordinator.text().count(gone) >= 2)
        noticed = time.monotonic() - begin
        wait_for("the workers to look for it again", lambda: all("connecting again" in w.text() for w in workers))
        self.hosts.link("up")
        self.assertEqual(self.finish(coordinator), self.quiet())
        print(f"link cut for {time.monotonic() - begin:.1f} s in all, noticed after {noticed:.1f} s")
        self.assertEqual([w.end() for w in workers], [0, 0])

    def peer_with_key(self, name, mode):
        peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "curve_peer.py")
        child = self.start(name, shutil.which("ip"), "netns", "exec", self.hosts.names[1], sys.executable, "-B", peer,
                           STATUS, self.key(name, "observer"), mode)
        wait_for(f"the {mode} peer", lambda: not child.running() or "ready" in child.text("out"))
        self.assertTrue(child.running(), child.text())

    def test_a_pulled_cable_gives_its_descriptors_back(self):
        if not curve_peer.library():
            self.skipTest("no libzmq is found for a peer that is no pft program")
        coordinator = self.served("--status", STATUS, "--set", "train.max_steps=40000")

        def connections():
            return sum(target.startswith("socket:") for target in descriptors(coordinator.process.pid))
        alone = 3  # sockets that listen
        wait_for("its own attack on them to be over", lambda: connections() == alone)
        self.peer_with_key("idle", "idle")
        self.peer_with_key("deaf", "deaf")
        self.fleet(1)
        wait_for("2 steps", lambda: " step step=2" in coordinator.text())
        self.assertGreaterEqual(connections(), alone + 4)  # the two, and the worker's two channels
        self.hosts.link("down")
        begin = time.monotonic()
        wait_for("every descriptor to be back", lambda: connections() <= alone)
        print(f"given back {time.monotonic() - begin:.1f} s after the link was cut")
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    probe = Hosts()
    reason = probe.open()
    probe.close()
    if reason:
        print(f"skipped: NO TWO HOSTS: {reason}")
        sys.exit(77)
    unittest.main(verbosity=2)
