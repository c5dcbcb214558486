"""Where each backend is: a name, and the class it stands for, nothing imported.

Built-in engines and third-party ones (entry-point group ``array_backends``) take the same road:
``"module:Class"``, imported when first used.
"""

from __future__ import annotations

import warnings
from functools import cache

__all__ = ["BUILT_IN", "GROUP", "OPTIONAL", "locate", "names"]

#: Entry-point group in which other packages offer backends.
GROUP = "array_backends"

BUILT_IN = {
    "numpy": "backends.engines.serial:NumpyBackend",
    "threads": "backends.engines.threads:ThreadsBackend",
    "joblib": "backends.engines.processes:JoblibBackend",
    "openmp": "backends.engines.openmp:OpenmpBackend",
    "mpi": "backends.engines.mpi:MpiBackend",
    "auto": "backends.auto:AutoBackend",
    "cupy": "backends.engines.cupy:CupyBackend",
    "torch": "backends.engines.torch:TorchBackend",
    "jax": "backends.engines.jax:JaxBackend",
    "numexpr": "backends.engines.numexpr:NumexprBackend",
    "numba": "backends.engines.numba:NumbaBackend",
    "mkl": "backends.engines.mkl:MklBackend",
    "dask": "backends.engines.dask:DaskBackend",
    "ray": "backends.engines.ray:RayBackend",
}

#: Those of them that need a library which this package does not install by itself.
OPTIONAL = ("mpi", "cupy", "torch", "jax", "numexpr", "numba", "mkl", "dask", "ray")


def names() -> list[str]:
    """Give the names of all backends, built-in ones first.

    Examples
    --------
    >>> names()[:2]
    ['numpy', 'threads']
    """
    return [*BUILT_IN, *_plugins()]


def locate(name: str) -> str | None:
    """Give ``"module:Class"`` of a backend, or None where there is no such name."""
    return BUILT_IN.get(name) or _plugins().get(name)


@cache
def _plugins() -> dict[str, str]:
    # Imported here: built-in backends do not need it, and it reads every installed package.
    from importlib.metadata import entry_points

    found: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        taken = "is built in" if point.name in BUILT_IN else "was offered before"
        if point.name in BUILT_IN or found.setdefault(point.name, point.value) != point.value:
            source = point.dist.name if point.dist else point.value
            warnings.warn(
                f"backend {point.name!r} of {source} is left out: that name {taken}", stacklevel=2
            )
    return found
