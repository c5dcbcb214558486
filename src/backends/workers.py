"""What a process that works for another one does once: its threads, Ctrl-C, and its end."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import cache

__all__ = ["end_with", "keep_to", "leave_ctrl_c_to_parent"]


@cache
def keep_to(threads: int) -> None:
    """Let libraries have at most so many threads in this process, for good."""
    from joblib.parallel import ParallelBackendBase
    from threadpoolctl import ThreadpoolController

    for variable in ParallelBackendBase.MAX_NUM_THREADS_VARS:  # for those that are loaded later
        said = os.environ.get(variable, "")
        if not said.isdecimal() or not 0 < int(said) <= threads:  # uncounted: worker
            os.environ[variable] = str(threads)
    for library in ThreadpoolController().lib_controllers:
        if library.num_threads > threads:  # uncounted: worker
            library.set_num_threads(threads)


@cache
def leave_ctrl_c_to_parent() -> None:  # uncounted: worker
    """Do nothing at Ctrl-C, which a terminal sends to all processes: the parent ends this one."""
    if threading.current_thread() is threading.main_thread():  # no other may say so
        # A function: what is ignored would be ignored by programs that are started here, too.
        signal.signal(signal.SIGINT, lambda *_: None)


@cache
def end_with(parent: int) -> None:  # uncounted: worker
    """End this process when `parent`, which started it, has gone.

    loky's workers notice that their parent was killed when they next want work; one in the middle
    of an hour's work would go on, and hold its memory.
    """
    if os.name != "nt":  # Windows does not tell that a parent has gone
        threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent: int) -> None:  # uncounted: worker
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
