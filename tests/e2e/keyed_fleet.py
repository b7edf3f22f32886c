"""A fleet that asks for keys, and what an attacker needs: shared by the tests of keys, sieges and network
namespaces. Standard library only; every wait is for a condition with a deadline."""
import contextlib
import os
import re
import socket
import subprocess
import time

import zmtp
from fleet import BIN, DEADLINE, FleetCase

MIB = 1 << 20


def descriptors(pid):
    """What the open descriptors of a process point to; one that is closed meanwhile is left out."""
    found, folder = [], f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(os.path.join(folder, fd)))
    return found


class KeyedFleetCase(FleetCase):
    def setUp(self):
        super().setUp()
        self.keys = os.path.join(self.folder, "keys")
        self.pft("keys", "init", self.keys)

    def pft(self, *args, code=0):
        """stdout of pft, or its stderr when another exit code than 0 is expected."""
        out = subprocess.run([os.path.join(BIN, "pft"), *args], capture_output=True, text=True,
                             timeout=DEADLINE, check=False, cwd=self.folder)
        self.assertEqual(out.returncode, code, f"{args}: {out.stdout}{out.stderr}")
        return out.stdout if code == 0 else out.stderr

    def key(self, name, role="worker", folder=None):
        folder = folder or self.keys
        self.pft("keys", "add", folder, name, "--role", role)
        return os.path.join(folder, f"{name}.key")

    def keyed(self, *args, status=True, **more):
        """A coordinator that asks for keys, on ports of its own."""
        words = ["--keys", self.keys, "--bind", "tcp://127.0.0.1:*", *args]
        return self.coordinator(*words, *(["--status", "tcp://127.0.0.1:*"] if status else []), **more)

    def peer(self, which="jobs"):
        """A raw connection to a socket of the coordinator."""
        port = int(self.address()[which].rsplit(":", 1)[1])
        return zmtp.Peer(connected=socket.create_connection(("127.0.0.1", port), timeout=20))

    def memory(self, coordinator, what="VmRSS"):
        with open(f"/proc/{coordinator.process.pid}/status", encoding="ascii") as f:
            return int(re.search(rf"{what}:\s+(\d+)", f.read()).group(1)) * 1024

    def flood(self, peer, part, limit=300 * MIB):
        """Parts without end until the other side hangs up; bytes that went out."""
        chunk = zmtp.frame(b"x" * part, zmtp.MORE) * max(1, MIB // 4 // (part + 2))
        sent, end = 0, time.monotonic() + DEADLINE
        while sent < limit and time.monotonic() < end and peer.send(chunk):
            sent += len(chunk)
        return sent

    def listening(self, coordinator):
        """Loopback ports that the program listens on."""
        inodes = set()
        for target in descriptors(coordinator.process.pid):
            match = re.match(r"socket:\[(\d+)\]", target)
            inodes |= {match.group(1)} if match else set()
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        return [int(r[1].rsplit(":", 1)[1], 16) for r in rows if r[3] == "0A" and r[9] in inodes]
