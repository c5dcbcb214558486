"""MPI ranks of a program's own: a job that it starts by ``mpiexec`` on its machine, and ends.

MPI stays out of the program itself: with workers that it had spawned, MPICH kills it as soon as one
of them dies. Rank 0 of the job, :mod:`backends.engines.broker`, passes work on.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import psutil

from backends.engines.parcels import Link, Parts
from backends.engines.ranks import Ranks
from backends.errors import BackendUnavailableError, WorkerDiedError

__all__ = ["OWNER", "PORT", "REMEDY", "SECRET", "OwnRanks", "find_mpiexec"]

#: What brings MPI where there is none.
REMEDY = 'pip install "array-backends[mpi]" brings MPI and mpiexec'
#: Seconds that a job of our own may take to start: a cluster's file system may be slow.
START_SECONDS = 120
#: Seconds that it may take to end by itself; then it is killed.
END_SECONDS = 5
#: MPICH: its own way through memory advances in small steps, and took 8 MB back and forth in 0.9 s
#: where the network library's takes 0.1 s.
MPICH = {"MPIR_CVAR_NOLOCAL": "1"}
#: Where a job of our own finds the program's address, its secret, and its process.
PORT, SECRET, OWNER = (f"ARRAY_BACKENDS_MPI_{name}" for name in ("PORT", "SECRET", "OWNER"))
#: What a launcher tells its processes; a job that one of them starts must not hear it.
TOLD = ("PMI_", "PMIX_", "HYDI_", "MPI_LOCAL", "OMPI_COMM_", "OMPI_UNIVERSE_")


class OwnRanks(Ranks):
    """An MPI job of this program's own, on this machine: `size` workers, and a broker.

    Raises
    ------
    BackendUnavailableError
        It does not start.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._process, links = _start(size)
        self._links: SimpleQueue[Link] = SimpleQueue()
        for link in links:
            self._links.put(link)
        self._broken = False
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="backends-mpi")
        self._end = weakref.finalize(self, _end, self._process, links, os.getpid())

    def send(self, call: Parts) -> Future[Parts]:
        """Have a worker make a packed call; see :meth:`Ranks.send`."""
        return self._threads.submit(self._ask, call)

    def alive(self) -> bool:
        """Tell whether the job runs."""
        return not self._broken and self._process.poll() is None

    def kill(self) -> None:
        """End all processes of the job, whatever they are doing."""
        _kill(self._process)

    def close(self) -> None:
        """End the job; what is still being computed is lost."""
        self._end()

    def _ask(self, parts: Parts) -> Parts:
        link = self._links.get()
        try:
            link.send(parts)
            return link.receive()
        except OSError as error:
            self._broken = True
            raise WorkerDiedError(
                "mpi: a worker died, and mpiexec ended the others: it was killed from outside, by "
                "the system for want of memory, or with another thread's call that was "
                "interrupted. Nothing was returned, and what was scattered is lost; the next call "
                "starts new workers (fewer n_jobs need less memory)"
            ) from error
        finally:
            self._links.put(link)


def find_mpiexec() -> str | None:
    """Find the ``mpiexec`` beside this Python, where the wheels put it, or on PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("mpiexec", path=beside) or shutil.which("mpiexec")


def _start(size: int) -> tuple[subprocess.Popen[bytes], list[Link]]:
    """Start mpiexec with a broker and `size` workers; give a connection for each worker."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise BackendUnavailableError(f"backend 'mpi': mpiexec is not there any more: {REMEDY}")
    command = [mpiexec, "-n", str(size + 1), sys.executable]
    with socket.create_server(("127.0.0.1", 0), backlog=size) as server:
        secret = secrets.token_hex(32)
        environment = {
            **MPICH,
            **{k: v for k, v in os.environ.items() if not k.startswith(TOLD)},
            # Modules beside the program are imported there as they are here.
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            PORT: str(server.getsockname()[1]),
            SECRET: secret,
            OWNER: str(os.getpid()),
        }
        process = subprocess.Popen(
            [*command, "-m", "mpi4py.futures", "-m", "backends.engines.broker"],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this program, which then ends the job
        )
        links = None
        try:
            links = _accept(server, size, secret.encode(), process)
        finally:
            code = process.poll()
            if links is None:
                _kill(process)
    if links is None:
        what = f"was silent for {START_SECONDS} s" if code is None else f"ended with {code}"
        raise BackendUnavailableError(
            f"backend 'mpi' cannot be started: {' '.join(command)} ... {what} before its workers "
            "were there. See what it wrote, and try `mpiexec -n 2 python -m mpi4py.bench "
            f"helloworld`: mpi4py and mpiexec must belong to the same MPI ({REMEDY})"
        )
    return process, links


def _accept(
    server: socket.socket, size: int, secret: bytes, process: subprocess.Popen[bytes]
) -> list[Link] | None:
    """Wait for a connection for each worker; give None where the job ended instead."""
    links: list[Link] = []
    end = time.monotonic() + START_SECONDS
    server.settimeout(0.1)
    while len(links) < size:
        try:
            connection = server.accept()[0]
        except TimeoutError:
            if process.poll() is None and time.monotonic() < end:
                continue
            return None
        # Any process of this machine can connect; only our broker knows the secret.
        link = Link(connection)
        connection.settimeout(END_SECONDS)
        with suppress(OSError):
            if secrets.compare_digest(link.read(len(secret)).tobytes(), secret):
                connection.settimeout(None)
                links.append(link)
                continue
        link.close()
    return links


def _end(process: subprocess.Popen[bytes], links: list[Link], owner: int) -> None:
    """End a job: its broker ends when the connections do."""
    forked = os.getpid() != owner
    for link in links:
        link.close(forked=forked)
    if forked:  # uncounted: fork
        process.returncode = 0  # the job is the parent's: nothing to wait for, or to warn of
        return
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:  # uncounted: race
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill mpiexec and all that it started."""
    if process.poll() is not None:
        return  # the number may be another process's by now
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for one in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()
