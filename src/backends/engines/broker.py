"""Rank 0 of a program's own MPI job: takes work from the program, and gives it to the other ranks.

Started by :class:`backends.engines.own_ranks.OwnRanks`, by ``mpiexec``; ends when the program
closes its connections, and ends the job when the program has gone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import psutil

from backends.engines.own_ranks import OWNER, PORT, SECRET
from backends.engines.parcels import Link, perform
from backends.engines.ranks import BACKOFF, begin

__all__ = ["main"]


def main() -> None:
    """Connect once for each worker, and pass work on until the program ends."""
    from mpi4py import MPI
    from mpi4py.futures import MPIPoolExecutor

    owner, secret = int(os.environ[OWNER]), os.environ.pop(SECRET).encode()
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    with MPIPoolExecutor(use_pkl5=True, main=False, backoff=BACKOFF, initializer=begin) as executor:
        executor.bootup()
        threads = []
        for _ in range(MPI.COMM_WORLD.size - 1):
            connection = socket.create_connection(("127.0.0.1", int(os.environ[PORT])))
            connection.sendall(secret)
            threads.append(threading.Thread(target=_serve, args=(executor, Link(connection))))
            threads[-1].start()
        for thread in threads:
            thread.join()


def _serve(executor: Any, link: Link) -> None:
    try:
        while True:
            link.send(executor.submit(perform, link.receive()).result())
    except OSError:
        return  # the program closed the connection
    finally:
        link.close()  # or the program would wait for an answer


def _end_with(owner: int) -> None:
    # A program that was killed closes its connections too, but a worker in the middle of an
    # hour's work would go on; and a forked child of it may hold them.
    with suppress(psutil.NoSuchProcess):
        program = psutil.Process(owner)
        while program.is_running() and program.status() != psutil.STATUS_ZOMBIE:
            time.sleep(1)
    os._exit(1)  # mpiexec ends the others # uncounted: worker


if __name__ == "__main__":
    main()
