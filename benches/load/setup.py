"""The running set-up of the load bench: PostgreSQL, and whoever is measured, one cell at a time."""

import os
import re
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from machine import Failure, free_port, killed_after, stop, text_of, wait_for_port

HERE = Path(__file__).resolve().parent
POOL = 50
PASSWORD = "secret"  # the lab's
LAB_LIMIT = 120  # seconds: initdb, when there is no template yet
AUTH_QUERY = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1"

Figures = dict[str, float]


@dataclass(frozen=True)
class Setup:
    """What may differ between the pgbouncer.ini of two cells; both poolers get the same."""

    auth_type: str = "scram-sha-256"
    tls: bool = False
    auth_query: bool = False


@dataclass
class Peer:
    """One of those measured: its program, the process while it runs, and what was found."""

    name: str
    program: str
    version: str
    process: subprocess.Popen | None = None
    port: int = 0
    # cell → figure → one value a round
    results: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # cell → why it has no figures
    failures: dict[str, str] = field(default_factory=dict)

    def record(self, cell: str, figures: Figures) -> None:
        for name, value in figures.items():
            self.results.setdefault(cell, {}).setdefault(name, []).append(value)

    def fail(self, cell: str, why: str) -> None:
        self.results.pop(cell, None)
        self.failures[cell] = why


class Bench:
    def __init__(self, options: Namespace, scratch: Path):
        self.options = options
        self.scratch = scratch
        self.server: dict[str, str] = {}
        self.running: list[subprocess.Popen] = []

    def start_postgres(self) -> None:
        command = [self.options.lab, "postgres", "--tls", "--max-connections", str(2 * POOL + 50)]
        command += ["--hba", "host all app_auth samehost scram-sha-256"]
        lab = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.running.append(lab)
        with killed_after(LAB_LIMIT, lab):
            for line in lab.stdout:
                key, _, value = line.strip().partition(" ")
                self.server[key] = value
                if key == "ready":
                    break
            else:
                raise Failure("lab postgres did not start")
        command = [self.tool("psql"), "-Xq", "-h", "127.0.0.1", "-p", self.server_port, "-U", "postgres", "app"]
        command += ["-c", f"create role app_auth login password '{PASSWORD}'"]
        command += ["-c", "grant select on pg_authid to app_auth"]
        subprocess.run(command, check=True, timeout=60)
        command = [self.tool("pgbench"), "-i", "-q", "-s", str(self.options.scale), "-h", "127.0.0.1"]
        command += ["-p", self.server_port, "-U", "app", "app"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)

    @property
    def server_port(self) -> str:
        return self.server["ready"].split()[1]

    def tool(self, name: str) -> str:
        beside = Path(self.server["bin"]) / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if not found:
            raise Failure(f"{name} is not installed")
        return found

    @contextmanager
    def serving(self, peer: Peer, setup: Setup) -> Iterator[None]:
        """A fresh process of the peer: what one cell leaves in memory is not the next one's."""
        peer.port = free_port()
        home = self.scratch / f"{peer.name}-{peer.port}"
        home.mkdir(exist_ok=True)
        log = home / "log"
        with log.open("w") as output:
            command = self.command(peer, setup, home)
            peer.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.running.append(peer.process)
        try:
            wait_for_port(peer.port, peer.process, log)
            yield
        finally:
            self.stop(peer.process)

    def command(self, peer: Peer, setup: Setup, home: Path) -> list[str]:
        if peer.name == "floor":
            certificate = ["--cert", self.server["server_cert"], "--key", self.server["server_key"]]
            return [peer.program, "floor", "--port", str(peer.port)] + (certificate if setup.tls else [])
        clients = "" if setup.auth_query else f'"app_scram" "{PASSWORD}"\n"app" ""\n'
        (home / "userlist.txt").write_text(f'"app_auth" "{PASSWORD}"\n{clients}')
        (home / "pgbouncer.ini").write_text(self.settings(peer.port, setup, home))
        return [peer.program, str(home / "pgbouncer.ini")]

    def settings(self, port: int, setup: Setup, home: Path) -> str:
        lines = f"""[databases]
app = host=127.0.0.1 port={self.server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {setup.auth_type}
auth_file = {home}/userlist.txt
admin_users = app
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = {max(self.options.idle, self.options.idle_tls) + 1000}
max_prepared_statements = 200
log_connections = 0
log_disconnections = 0
server_tls_sslmode = disable
"""
        if os.geteuid() == 0:
            # Both refuse to stay root.
            lines += "user = postgres\n"
        if setup.tls:
            lines += "client_tls_sslmode = require\n"
            lines += f"client_tls_cert_file = {self.server['server_cert']}\n"
            lines += f"client_tls_key_file = {self.server['server_key']}\n"
        if setup.auth_query:
            lines += f"auth_user = app_auth\nauth_query = {AUTH_QUERY}\n"
        return lines

    def stop(self, process: subprocess.Popen) -> None:
        stop(process)
        self.running.remove(process)

    def stop_all(self) -> None:
        for process in reversed(self.running.copy()):
            self.stop(process)


def pgbouncer_peer() -> Peer:
    program = os.environ.get("PGBOUNCER") or text_of(str(HERE / "get-pgbouncer"), limit=600)
    version = text_of(program, "--version").splitlines()[0]
    found = re.search(r"(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < (1, 24):
        raise Failure(f"{version} is no fair peer: PGBOUNCER must be at least 1.24")
    return Peer("PgBouncer", program, version)
