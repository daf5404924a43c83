"""The three targets: a throw-away PostgreSQL, and before it the pooler and PgBouncer with the same pgbouncer.ini."""

import os
import subprocess
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from machine import Failure, free_port, killed_after, stop, text_of, wait_for_port

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "secret"  # the lab's
SERVERS = 4
LAB_LIMIT = 120  # seconds: initdb, when there is no template yet
TABLES = """
create role app_auth login password 'secret';
grant select on pg_authid to app_auth;
create table people (id int primary key, name text not null);
insert into people select n, 'name ' || n from generate_series(1, 20000) n;
create table copied (id int, name text);
create table written (id int);
create table changing (id int);
insert into changing values (1);
alter table changing owner to app_scram;
grant all on people, copied, written to public;
"""


@dataclass
class Target:
    """Where drivers connect to. Every name is verified: `localhost` is in the certificate."""

    name: str
    version: str
    port: int
    ca: str
    stranger: str
    psql: list[str]

    def environment(self) -> dict[str, str]:
        """libpq's own names, which many drivers know, and an authority that did not sign the server's certificate."""
        return {
            "PGHOST": "localhost", "PGPORT": str(self.port), "PGUSER": "app_scram", "PGPASSWORD": PASSWORD,
            "PGDATABASE": "app", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": self.ca, "STRANGER_CA": self.stranger,
        }

    def clean(self) -> None:
        """Empties what scenarios fill, and has all servers of a pool open, so that transactions change servers."""
        subprocess.run([*self.psql, "-c", "truncate copied, written"], check=True, timeout=60, stdout=subprocess.DEVNULL)
        command = ["psql", "-Xqc", "select pg_sleep(0.3)"]
        environment = os.environ | self.environment()
        sleepers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(SERVERS)]
        if any([sleeper.wait(30) for sleeper in sleepers]):
            raise Failure(f"psql cannot connect through {self.name}")


class Servers:
    """Runs them while the context lasts."""

    def __init__(self, options: Namespace, scratch: Path):
        self.options = options
        self.scratch = scratch
        self.lab: dict[str, str] = {}
        self.running: list[subprocess.Popen] = []

    def __enter__(self) -> list[Target]:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.running):
            stop(process)

    def start(self) -> list[Target]:
        self.start_postgres()
        stranger = self.scratch / "stranger.crt"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=stranger", "-keyout", os.devnull, "-out", str(stranger)]
        subprocess.run(command, check=True, timeout=60, stderr=subprocess.DEVNULL)
        targets = []
        for name in self.options.targets:
            port, version = getattr(self, f"start_{name.lower()}")()
            targets.append(Target(name, version, port, self.lab["ca"], str(stranger), self.psql()))
        return targets

    def start_postgres(self) -> None:
        command = [self.options.lab, "postgres", "--tls"]
        for hba in ("hostssl all app_auth samehost scram-sha-256", "hostnossl all app_scram samehost reject"):
            command += ["--hba", hba]
        lab = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.running.append(lab)
        with killed_after(LAB_LIMIT, lab):
            for line in lab.stdout:
                key, _, value = line.strip().partition(" ")
                self.lab[key] = value
                if key == "ready":
                    break
            else:
                raise Failure("lab postgres did not start")
        subprocess.run([*self.psql(), "-c", TABLES], check=True, timeout=60)

    def psql(self) -> list[str]:
        return ["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", self.port(), "-U", "postgres", "app"]

    def port(self) -> str:
        return self.lab["ready"].split()[1]

    def start_direct(self) -> tuple[int, str]:
        return int(self.port()), text_of(*self.psql(), "-Atc", "select 'PostgreSQL ' || current_setting('server_version')")

    def start_pooler(self) -> tuple[int, str]:
        return self.start_peer("pooler", self.options.pooler)

    def start_pgbouncer(self) -> tuple[int, str]:
        program = os.environ.get("PGBOUNCER") or text_of(str(ROOT / "benches/load/get-pgbouncer"), limit=600)
        return self.start_peer("PgBouncer", program)

    def start_peer(self, name: str, program: str) -> tuple[int, str]:
        port, home = free_port(), self.scratch / name
        home.mkdir()
        self.scratch.chmod(0o755)  # both change to another account
        log = home / "log"
        (home / "userlist.txt").write_text(f'"app_auth" "{PASSWORD}"\n')
        (home / "pgbouncer.ini").write_text(self.settings(port, home))
        with log.open("w") as output:
            peer = subprocess.Popen([program, str(home / "pgbouncer.ini")], stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=output)
        self.running.append(peer)
        wait_for_port(port, peer, log)
        return port, text_of(program, "--version").splitlines()[0]

    def settings(self, port: int, home: Path) -> str:
        """As in production: TLS on both sides, SCRAM through to the server with no password stored. Turns are taken
        among servers, so that the next transaction is on another one. JDBC and lib/pq need extra_float_digits."""
        lines = f"""[databases]
app = host=127.0.0.1 port={self.port()}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {home}/userlist.txt
auth_user = app_auth
auth_query = SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1
pool_mode = transaction
default_pool_size = {SERVERS}
ignore_startup_parameters = extra_float_digits
max_prepared_statements = 200
server_round_robin = 1
client_tls_sslmode = require
client_tls_cert_file = {self.lab['server_cert']}
client_tls_key_file = {self.lab['server_key']}
server_tls_sslmode = verify-full
server_tls_ca_file = {self.lab['ca']}
"""
        return lines + ("user = postgres\n" if os.geteuid() == 0 else "")  # both refuse to stay root
