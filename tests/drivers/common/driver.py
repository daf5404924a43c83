"""One driver: how it is installed, how its program is run, and what the program said."""

import hashlib
import os
import queue
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from machine import Failure, stop
from servers import Target

COMMON = Path(__file__).resolve().parent
INSTALL_LIMIT = 900  # seconds
SILENCE_LIMIT = 40  # seconds without an answer: it hangs


@dataclass
class Results:
    # (driver, target, scenario) → "ok", "skip", or "not ok", and why
    answers: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    not_installed: dict[str, str] = field(default_factory=dict)


def found_drivers(folder: Path) -> list[str]:
    """Every folder with a program in it."""
    return sorted(path.name for path in folder.iterdir() if list(path.glob("scenarios.*")))


class Driver:
    def __init__(self, folder: Path, cache: Path):
        self.folder, self.cache, self.name = folder, cache, folder.name
        self.language = next(folder.glob("scenarios.*")).suffix[1:]

    def install(self) -> None:
        """Copies the folder and its language's harness into the cache, and runs the installer there; but only when
        something has changed."""
        mark, wanted = self.cache / "installed", self.fingerprint()
        if mark.exists() and mark.read_text() == wanted:
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)
        for file in [*COMMON.glob(f"harness.{self.language}"), *self.folder.iterdir()]:
            shutil.copy(file, self.cache)
        log = self.cache / "install.log"
        with log.open("w") as output:
            installed = subprocess.run([str(self.installer())], cwd=self.cache, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, timeout=INSTALL_LIMIT)
        if installed.returncode != 0:
            raise Failure(f"not installed: {' '.join(log.read_text().split()[-60:])}")
        mark.write_text(wanted)

    def installer(self) -> Path:
        """The folder's own, or its language's."""
        own = self.folder / "install"
        return own if own.exists() else COMMON / f"install-{self.language}"

    def fingerprint(self) -> str:
        files = [COMMON / f"harness.{self.language}", COMMON / f"install-{self.language}", *self.folder.iterdir()]
        whole = b"".join(file.name.encode() + file.read_bytes() for file in sorted(files) if file.exists())
        return hashlib.sha256(whole).hexdigest()

    def run(self, target: Target, scenarios: list[str], results: Results) -> None:
        """Every scenario is answered for: one in which the program hangs or dies is red, and the others get another
        run."""
        wanted = list(scenarios)
        while wanted:
            answers, ending = self.run_once(target, wanted, results)
            for name, answer in answers.items():
                results.answers[self.name, target.name, name] = answer
                wanted.remove(name)
            if wanted:
                results.answers[self.name, target.name, wanted.pop(0)] = ("not ok", ending)

    def run_once(self, target: Target, wanted: list[str], results: Results) -> tuple[dict, str]:
        """What was answered, and how it ended if that was not all."""
        # Nothing of the machine's own settings: PGSSLMODE and its kind would decide what is tested.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        process = subprocess.Popen([str(self.cache / "run"), *wanted], cwd=self.cache, env=kept | target.environment(),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        lines: queue.Queue[str | None] = queue.Queue()
        errors: list[str] = []
        threading.Thread(target=lambda: [*map(lines.put, process.stdout), lines.put(None)], daemon=True).start()
        threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True).start()
        answers: dict[str, tuple[str, str]] = {}
        try:
            while (line := lines.get(timeout=SILENCE_LIMIT)) is not None:
                if line.startswith("# "):
                    results.versions[self.name] = line[2:].strip()
                for verdict in ("ok", "not ok", "skip"):
                    if line.startswith(f"{verdict} "):
                        name, _, why = line[len(verdict) + 1:].strip().partition(" ")
                        if name in wanted:
                            answers[name] = (verdict, why)
            ending = f"the program ended with {process.wait(10)}: {' '.join(''.join(errors[-8:]).split())}"
        except queue.Empty:
            ending = f"no answer within {SILENCE_LIMIT} s"
        finally:
            stop(process)
        return answers, ending
