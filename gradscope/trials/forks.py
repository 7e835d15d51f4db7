"""Forks: processes that have imported what a program imports, and run it in a child as often as they are told to.

Importing a framework takes longer than many a program. `python -m gradscope.trials.forks` reads one Job a line from
stdin and answers each with a line, once its child has ended.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gradscope.trials.rerun import Order, perform

HEAVY = frozenset(
    {"torch", "torchvision", "tensorflow", "keras", "jax", "optax", "flax", "equinox", "sklearn", "scipy", "pandas"}
    | {"numpy", "transformers", "lightning", "matplotlib"}
)
"""What is worth importing beforehand, and does nothing but define things when it is."""
BEFORE = re.compile(r"KERAS_BACKEND|CUDA_VISIBLE|XLA_|JAX_|OMP_|MKL_|TF_(?!CPP_MIN_LOG)|PYTORCH_")
"""Settings that a program makes in its environment before it imports: then each run begins from nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """An order, the file for what its program prints, how long it may take (for ever when None), and where it runs (in
    the directory of the server when None)."""

    order: Order
    printed: str
    limit_s: float | None = None
    folder: str | None = None


@dataclass(slots=True)
class Server:
    """One process that has imported, or that begins from nothing each time when imports is None."""

    imports: list[str] | None
    threads: int
    process: subprocess.Popen[str] | None = None

    def run(self, job: Job) -> str | None:
        """Runs a job to its end; how it went wrong, or None."""
        command = [sys.executable, "-m", "gradscope.trials.forks", *(self.imports or [])]
        if self.process is None or self.process.poll() is not None:
            environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
            pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True, env=environment
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(asdict(job)) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            self.close()
            return "could not be started"
        if self.imports is None:
            self.close()
        why: str | None = json.loads(answer)
        return why

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.terminate()
            for stream in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            self.process.wait()
        self.process = None


@contextlib.contextmanager
def servers(count: int, text: str, threads: int) -> Iterator[queue.Queue[Server]]:
    """So many servers for a program of that text, to be taken and put back."""
    pool: queue.Queue[Server] = queue.Queue()
    held = [Server(imports_of(text), threads) for _ in range(count)]
    for server in held:
        pool.put(server)
    try:
        yield pool
    finally:
        for server in held:
            server.close()


def imports_of(text: str) -> list[str] | None:
    """The heavy modules that a program imports; None where it sets something up before that."""
    if BEFORE.search(text) or not hasattr(os, "fork"):
        return None
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return sorted(n for n in names if n.partition(".")[0] in HEAVY)


def main() -> None:
    """Imports what the command line names, and serves."""
    for name in sys.argv[1:]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    for line in sys.stdin:
        given = json.loads(line)
        order = Order(**given["order"] | {"arguments": tuple(given["order"]["arguments"])})
        job = Job(order, given["printed"], given["limit_s"], given["folder"])
        print(json.dumps(serve(job)), flush=True)  # noqa: T201 - the answer


def serve(job: Job) -> str | None:
    """Runs a job in a child; how it went wrong, or None. Neither the child nor what it started outlives this call, nor
    the process that asked for it."""
    parent = os.getppid()
    child = os.fork() if hasattr(os, "fork") else 0
    if child == 0:
        in_child(job)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    try:
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return None if code == 0 else f"ended early (exit code {code}{_last_line(job)})"
            if job.limit_s is not None and time.monotonic() - began > job.limit_s:
                return f"took more than {job.limit_s:.0f} s, and was stopped"
            if os.getppid() != parent:
                sys.exit(1)
            time.sleep(0.01)
    finally:
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(child, 0)


def in_child(job: Job) -> None:
    """Runs the program, and never returns."""
    with contextlib.suppress(OSError):
        os.setsid()
    sink = os.open(job.printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((0, nothing), (1, sink), (2, sink)):
        os.dup2(target, descriptor)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        if job.folder is not None:
            os.chdir(job.folder)
        perform(job.order)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, it is told in the file
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _last_line(job: Job) -> str:
    with contextlib.suppress(OSError):
        lines = Path(job.printed).read_text("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
    return ""


if __name__ == "__main__":
    main()
