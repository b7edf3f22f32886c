"""Keys end to end: real programs over tcp with CURVE. Who gets in, who stays out, what a role may do,
what a revoked key loses, what floods cost. The adapter is that of the quiet run all along.
Standard library only; every wait is for a condition with a deadline.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import zmtp
from fleet import BIN, DEADLINE, MODEL, SLOW, wait_for
from keyed_fleet import MIB, KeyedFleetCase

TABLE = []


class Keys(KeyedFleetCase):
    # -- who gets in ----------------------------------------------------------------------------------

    def test_a_run_with_keys_makes_the_same_adapter_as_one_over_ipc(self):
        coordinator = self.keyed()
        self.assertIn("closed_to_strangers sockets=3", coordinator.text())
        workers = [self.worker(f"w{i}", "--key", self.key(f"node{i}")) for i in range(2)]
        self.assertEqual(self.finish(coordinator), self.quiet())
        self.assertEqual([w.end() for w in workers], [0, 0])

    def test_strangers_revoked_keys_and_plain_clients_stay_out_and_are_counted(self):
        other = os.path.join(self.folder, "other")
        self.pft("keys", "init", other)
        revoked, watcher = self.key("revoked"), self.key("watcher", "observer")
        self.pft("keys", "revoke", self.keys, "revoked")
        stranger = self.key("gone")
        os.unlink(os.path.join(self.keys, "allowed", "gone.pub"))
        coordinator = self.keyed()
        for name, path in (("revoked", revoked), ("stranger", stranger)):
            worker = self.worker(name, "--key", path)
            self.assertEqual(worker.end(), 3, worker.text())
            self.assertIn("does not let this key in", worker.text())
        for name, words, says in (("foreign", ["--key", self.key("foreign", folder=other)], "belongs to another"),
                                  ("plain", [], "asks for a key")):
            worker = self.worker(name, "--give-up-after", "1", *words)
            self.assertEqual(worker.end(), 4, worker.text())
            self.assertIn(says, worker.text())
        wait_for("the stranger in the log", lambda: "key_denied socket=jobs from=127.0.0.1" in coordinator.text())
        address = self.address()["status"]
        self.assertIn("asks for a key", self.pft("status", address, code=3))
        self.assertIn("does not let key 'revoked'", self.pft("status", address, "--key", revoked, code=3))
        told = self.pft("status", address, "--key", watcher)
        self.assertGreaterEqual(int(re.search(r"refused\s+(\d+) connections", told).group(1)), 5)
        self.assertIn("(no workers)", told)
        self.worker("honest", "--key", self.key("honest"))
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_a_revoked_key_is_cut_off_in_the_middle_of_a_run(self):
        coordinator = self.keyed("--set", "train.max_steps=4000", status=False)
        bad, good = self.key("bad"), self.key("good")
        cut = self.worker("cut", "--key", bad)
        wait_for("2 steps", lambda: self.committed(2))
        self.pft("keys", "revoke", self.keys, "bad")
        self.assertEqual(cut.end(), 3, cut.text())
        self.assertIn("key 'bad' was revoked", cut.text())
        self.assertIn("session_cut", coordinator.text())
        before = self.status()["step"]["committed"]
        kept = self.worker("kept", "--key", good)
        wait_for("more steps", lambda: self.committed(before + 2))
        again = self.worker("cut", "--key", bad)
        self.assertEqual(again.end(), 3)
        self.assertIn("stopping", self.pft("stop", self.run_folder))
        self.assertEqual(coordinator.end(), 5, coordinator.text()[-2000:])
        kept.send(signal.SIGTERM)
        self.assertEqual(kept.end(), 0)

    def test_a_workers_name_belongs_to_the_key_that_took_it(self):
        coordinator = self.keyed("--set", "train.max_steps=4000", status=False)
        self.worker("w", "--key", self.key("first"))
        wait_for("a step", lambda: self.committed(1))
        thief = self.start("thief", "pft-worker", self.address()["jobs"], "--model", MODEL, "--id", "w",
                           "--key", self.key("second"))
        wait_for("the refusal", lambda: "with another key" in thief.text())
        self.assertEqual([w["id"] for w in self.status()["workers"]], ["w"])
        self.assertNotIn("worker_gone", coordinator.text())

    # -- roles ----------------------------------------------------------------------------------------

    def test_only_an_operator_drains_and_stops(self):
        coordinator = self.keyed("--set", "train.max_steps=4000")
        address = self.address()["status"]
        observer, operator = self.key("watcher", "observer"), self.key("boss", "operator")
        worker_key = self.key("node")
        workers = [self.worker(f"w{i}", "--key", worker_key) for i in range(3)]

        def ids():
            told = self.pft("status", address, "--json", "--key", observer)
            return sorted(re.findall(r'"id":"(\w+)"', told))
        wait_for("three workers", lambda: ids() == ["w0", "w1", "w2"])
        for command in ("drain", "stop"):
            self.assertIn("only an operator", self.pft(command, address, "--key", observer, code=3))
            self.assertIn("does not let key 'node'", self.pft(command, address, "--key", worker_key, code=3))
            self.assertIn("asks for a key", self.pft(command, address, code=3))
        self.assertIn("no worker is named", self.pft("drain", address, "nobody", "--key", operator, code=1))
        self.assertIn("1 worker is", self.pft("drain", address, "w1", "--key", operator))
        self.assertEqual(workers[1].end(), 0, workers[1].text())
        wait_for("two workers", lambda: ids() == ["w0", "w2"])
        self.assertIn("2 workers are", self.pft("drain", address, "--key", operator))
        self.assertEqual([w.end() for w in workers], [0, 0, 0])
        self.assertTrue(coordinator.running())
        self.assertIn("stopping", self.pft("stop", address, "--key", operator))
        self.assertEqual(coordinator.end(), 5)
        self.assertIn("command drain by=observer key=watcher", coordinator.text())
        for role in ("observer", "operator"):
            wrong = self.start(role, "pft-worker", "tcp://127.0.0.1:1", "--model", MODEL, "--key",
                               observer if role == "observer" else operator)
            self.assertEqual(wrong.end(), 3)
            self.assertIn(f"is the key of {role}", wrong.text())

    def test_the_owner_commands_over_ipc_and_nobody_does_over_tcp_without_keys(self):
        coordinator = self.coordinator("--status", "tcp://127.0.0.1:*")
        self.assertIn("(no workers)", self.pft("status", self.run_folder))
        self.assertIn("only an operator", self.pft("stop", self.run_folder, code=3))
        coordinator.send(signal.SIGTERM)
        self.assertEqual(coordinator.end(), 5)
        coordinator = self.coordinator("--resume", name="again")
        path = self.address()["status"][len("ipc://"):]
        self.assertEqual(os.stat(path).st_mode & 0o77, 0)
        self.assertIn("stopping", self.pft("stop", self.run_folder))
        self.assertEqual(coordinator.end(), 5)

    # -- floods ---------------------------------------------------------------------------------------

    def test_endless_parts_do_not_grow_the_coordinator_and_harm_nobody(self):
        """The worst that a local peer can do where no keys are asked for."""
        coordinator = self.coordinator("--bind", "tcp://127.0.0.1:*", "--status", "tcp://127.0.0.1:*")
        before = self.memory(coordinator)
        ports = {"jobs": 0, "tensors": 1, "status": 0}
        for which, plus in ports.items():
            for part in (65000, 200, 1):
                port = int(self.address()["status" if which == "status" else "jobs"].rsplit(":", 1)[1])
                if plus:  # a free port was chosen for it: the listener beside the two known ones
                    port = next(p for p in self.listening(coordinator) if p not in (
                        port, int(self.address()["status"].rsplit(":", 1)[1])))
                with zmtp.Peer(connected=socket.create_connection(("127.0.0.1", port), timeout=20)) as peer:
                    peer.greet()
                    size = part if which != "status" else min(part, 4000)
                    self.assertLess(self.flood(peer, size), 300 * MIB, which)
        grown = self.memory(coordinator, "VmHWM") - before
        print(f"flooded: {grown // MIB} MiB more at the peak")
        if not SLOW:  # a sanitizer keeps freed memory for a while
            self.assertLess(grown, 400 * MIB)
        self.worker("honest")
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_with_keys_a_stranger_gets_nothing_through(self):
        coordinator = self.keyed()
        before = self.memory(coordinator)
        begin = time.monotonic()
        for which in ("jobs", "status"):
            with self.peer(which) as peer:
                peer.send(zmtp.GREETING[:11])
                self.assertEqual(peer.receive(64)[12:17], b"CURVE")
                peer.send(zmtp.GREETING[11:])
                self.flood(peer, 65000)
                self.assertTrue(peer.closed())
            with self.peer(which) as peer:  # a CURVE greeting, then parts instead of a handshake
                peer.send(zmtp.GREETING[:12] + b"CURVE".ljust(20, b"\0") + bytes(32))
                self.assertLess(self.flood(peer, 65000), 64 * MIB)
                self.assertTrue(peer.closed())
        self.assertLess(time.monotonic() - begin, DEADLINE)
        grown = self.memory(coordinator, "VmHWM") - before
        print(f"strangers: {grown // MIB} MiB more at the peak")
        self.assertLess(grown, 200 * MIB if SLOW else 32 * MIB)
        self.worker("honest", "--key", self.key("honest"))
        self.assertEqual(self.finish(coordinator), self.quiet())

    def test_half_handshakes_are_hung_up_on_and_honest_workers_go_on(self):
        coordinator = self.keyed()
        peers = [self.peer() for _ in range(300)]
        for i, peer in enumerate(peers):
            peer.send(zmtp.GREETING[:i % 12])
        self.worker("honest", "--key", self.key("honest"))
        begin = time.monotonic()
        for peer in peers:
            self.assertTrue(peer.closed())
            peer.socket.close()
        print(f"300 half handshakes hung up on after {time.monotonic() - begin:.1f} s")
        self.assertEqual(self.finish(coordinator), self.quiet())

    # -- broken inputs --------------------------------------------------------------------------------

    def damaged(self):
        """name -> (how the file is made wrong, what the message must say, exit code of a worker)."""
        def text(old, new):
            def change(path):
                with open(path, encoding="ascii") as f:
                    body = f.read()
                with open(path, "w", encoding="ascii") as f:
                    f.write(body.replace(old, new, 1))
            return change

        def cut(path):
            os.truncate(path, os.path.getsize(path) - 20)

        def folder(path):
            os.unlink(path)
            os.mkdir(path)
        return {
            "empty": (lambda path: os.truncate(path, 0), "is no key file", 1),
            "cut": (cut, "cut short", 1),
            "changed": (text("role worker", "role wirker"), "role 'wirker'", 1),
            "one digit": (text("secret ", "secret 0"), "65 characters, 64 lower-case hex digits", 1),
            "other name": (text("name k", "name q"), "check line does not fit", 1),
            "long": (lambda path: os.truncate(path, 2000), "at most 1024", 1),
            "open to all": (lambda path: os.chmod(path, 0o644), "chmod 600", 3),
            "open to a group": (lambda path: os.chmod(path, 0o640), "chmod 600", 3),
            "missing": (os.unlink, "No such file", 1),
            "a folder": (folder, "is a folder", 1),
        }

    def test_every_broken_key_file_has_its_message(self):
        for number, (name, (damage, says, code)) in enumerate(self.damaged().items()):
            path = self.key(f"k{number}")
            damage(path)
            worker = self.start(f"broken{number}", "pft-worker", "tcp://127.0.0.1:1", "--model", MODEL,
                                "--key", path)
            self.assertEqual(worker.end(), code, f"{name}: {worker.text()}")
            self.assertIn(says, worker.text(), name)
            told = self.pft("status", "tcp://127.0.0.1:1", "--key", path, code=code)
            self.assertIn(says, told, name)
            TABLE.append((name, code, told.strip()))
        self.assertIn("coordinator's own key", self.pft("status", "tcp://127.0.0.1:1", "--key",
                                                        os.path.join(self.keys, "server.key"), code=3))

    def test_a_coordinator_does_not_start_with_a_broken_folder_of_keys(self):
        server = os.path.join(self.keys, "server.key")
        allowed = os.path.join(self.keys, "allowed")
        cases = [
            (lambda: os.chmod(server, 0o644), "chmod 600", 3), (lambda: os.chmod(server, 0o600), None, 0),
            (lambda: os.chmod(allowed, 0o777), "chmod 700", 3), (lambda: os.chmod(allowed, 0o700), None, 0),
            (lambda: os.chmod(self.keys, 0o770), "chmod 700", 3), (lambda: os.chmod(self.keys, 0o700), None, 0),
            (lambda: shutil.copy(self.key("w"), server), "not a coordinator's", 3),
            (lambda: os.unlink(server), "pft keys init", 1),
            (lambda: shutil.rmtree(self.keys), "pft keys init", 1)]
        for i, (damage, says, code) in enumerate(cases):
            damage()
            if says:
                child = self.start(f"c{i}", "pft-coordinator", self.config, "--out",
                                   os.path.join(self.folder, f"x{i}"), "--keys", self.keys, "--bind",
                                   "tcp://127.0.0.1:*")
                self.assertEqual(child.end(), code, child.text())
                self.assertIn(says, child.text())
        wild = self.start("wild", "pft-coordinator", self.config, "--out", os.path.join(self.folder, "y"),
                          "--keys", self.keys, "--bind", "tcp://0.0.0.0:*")
        self.assertEqual(wild.end(), 2)
        self.assertIn("a port is needed", wild.text())

    def test_pft_keys_says_what_is_wrong_and_how_it_is_meant(self):
        self.key("taken")
        for words, code, says in (
                ([], 2, "init, add, list or revoke"), (["make", "x"], 2, "init, add, list or revoke"),
                (["init"], 2, "takes DIR"), (["add", self.keys], 2, "takes DIR and NAME"),
                (["add", self.keys, "x"], 2, "worker, observer or operator"),
                (["add", self.keys, "x", "--role", "king"], 2, "--role king"),
                (["add", self.keys, "x", "--role", "coordinator"], 2, "worker, observer or operator"),
                (["add", self.keys, "../x", "--role", "worker"], 2, "a key's name has"),
                (["add", self.keys, "-x", "--role", "worker"], 2, "unknown option"),
                (["add", self.keys, "taken", "--role", "worker"], 3, "never overwritten"),
                (["add", self.keys, "taken", "--role", "worker", "--out", "t2.key"], 3, "name is taken"),
                (["add", os.path.join(self.folder, "none"), "x", "--role", "worker"], 1, "server.key"),
                (["init", self.keys], 3, "never made anew"),
                (["revoke", self.keys, "nobody"], 1, "no key has that name"),
                (["list", os.path.join(self.folder, "none")], 1, "pft keys init"),
                (["list", self.keys, "--role", "worker"], 2, "go with pft keys add")):
            self.assertIn(says, self.pft("keys", *words, code=code), words)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "t2.key")))
        self.pft("keys", "revoke", self.keys, "taken")
        self.assertIn("taken by a revoked key", self.pft("keys", "add", self.keys, "taken", "--role", "worker",
                                                         "--out", "t3.key", code=3))
        self.assertRegex(self.pft("keys", "list", self.keys), r"taken\s+worker\s+revoked\s+[0-9a-f]{64}")
        for folder, _, names in os.walk(self.keys):
            self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
            for name in names:
                mode = os.stat(os.path.join(folder, name)).st_mode & 0o777
                self.assertEqual(mode, 0o600, name)


def tearDownModule():
    if os.environ.get("PFT_TABLE"):
        with open(os.environ["PFT_TABLE"], "a", encoding="utf-8") as f:
            f.writelines(f"| key file: {name} | {code} | {text} |\n" for name, code, text in TABLE)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "pft")):
        print(f"skipped: no pft in {BIN}")
        sys.exit(77)
    unittest.main(verbosity=2)
