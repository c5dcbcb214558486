"""Which backend a call runs on, how many jobs, why, and where each setting came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import config, kernels, measurements, position, registry
from backends.auto import AutoBackend, Decision
from backends.config import Setting
from backends.kernel import Kernel
from backends.measurements import Point
from backends.position import Position

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a call runs on, and why; as text it is a few lines for a person.

    Attributes
    ----------
    kernel : str
        What is called.
    backend : str
        What runs it.
    n_jobs : int
        Number of jobs, at most; small calls run in one piece.
    reason : str
        Why.
    settings : dict of str to Setting
        The configuration's backend, n_jobs, mode, device and scheduler, each with its source.
    place : Position or None
        Dtype, layout and size, as the tuner counts them.
    point : Point or None
        What the tuner measured at the nearest size.
    """

    kernel: str
    backend: str
    n_jobs: int
    reason: str
    settings: dict[str, Setting]
    place: Position | None
    point: Point | None

    def __str__(self) -> str:
        jobs = f"{self.n_jobs} job{'s' if self.n_jobs > 1 else ''}"
        lines = [f"{self.kernel} runs on {self.backend} with {jobs}: {self.reason}"]
        if self.place is not None:
            dtype, layout, size = self.place
            lines.append(f"the call: {dtype}, {layout.replace('_', ' ')}, size {size:,}")
        if self.point is not None:
            lines.append(f"measured at size {self.point.size:,}, times the speed of numpy:")
            for m in self.point.candidates:
                mode = f" ({m.mode})" if m.mode != "exact" else ""
                lines.append(
                    f"  {m.backend + mode:16} n_jobs {m.n_jobs}  {m.seconds * 1e6:12,.1f} us  "
                    f"{m.speedup:6.2f} ({m.low:.2f} to {m.high:.2f})"
                )
        lines += [f"{name} {setting}" for name, setting in self.settings.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def explain(
    kernel: str | Kernel,
    /,
    *arrays: Any,
    backend: str | None = None,
    n_jobs: int | None = None,
) -> Explanation:
    """Say which backend a call would run on, with how many jobs, and why.

    Nothing is computed.

    Parameters
    ----------
    kernel : str or Kernel
        What would be called, as ``"sin"`` or ``backends.sin``.
    *arrays : array_like
        Its arguments.
    backend, n_jobs : optional
        As in the call.

    Returns
    -------
    Explanation
        Prints as text; has the parts as attributes.

    Raises
    ------
    UnknownNameError
        There is no such kernel or backend.
    TypeError
        The kernel takes another number of arrays.

    Examples
    --------
    >>> import backends, numpy as np
    >>> why = backends.explain("sin", np.zeros(10), backend="threads", n_jobs=2)
    >>> why.backend, why.reason
    ('threads', 'the argument backend says so; in one piece: too little work to share')
    """
    found = kernel if isinstance(kernel, Kernel) else kernels.find(kernel)
    if len(arrays) != len(found.parameters):
        wanted = ", ".join(found.parameters)
        raise TypeError(f"{found.name} takes {wanted}: {len(arrays)} arrays were given")
    settings = config.current()
    chosen = settings.backend_for(found.name)
    if backend is not None:
        chosen = Setting(backend, "the argument backend")
    engine = registry.get(chosen.value, n_jobs)
    jobs = settings.n_jobs if n_jobs is None else Setting(n_jobs, "the argument n_jobs")
    sources = {"backend": chosen, "n_jobs": jobs, "mode": settings.mode}
    if settings.device.value is not None:
        sources["device"] = settings.device
    if settings.scheduler.value is not None:
        sources["scheduler"] = settings.scheduler
    place, point = position.of(found, arrays), None
    if isinstance(engine, AutoBackend):
        decision = engine.decide(found, arrays)
        point = _nearest(engine, found, place)
    else:
        decision = Decision(engine.name, engine.n_jobs, f"{chosen.source} says so")
    reason = decision.reason
    runs = registry.get(decision.backend, decision.n_jobs, mode=settings.mode.value)
    supported = runs.supports(found)
    if supported is not True:
        reason = f"{reason}; but it refuses: {supported}"
    elif runs.n_jobs > 1 and not runs.divides(found, *arrays):
        reason = f"{reason}; in one piece: too little work to share"
    return Explanation(found.name, decision.backend, decision.n_jobs, reason, sources, place, point)


def _nearest(engine: AutoBackend, kernel: Kernel, place: Position | None) -> Point | None:
    """Give what was measured at the nearest size, as factors count."""
    if engine.profile is None or place is None:
        return None
    points = [
        point
        for point in measurements.read(engine.profile.path, engine.profile.created)
        if (point.kernel, point.dtype, point.layout) == (kernel.name, place.dtype, place.layout)
    ]
    size = max(place.size, 1)
    return min(points, key=lambda p: max(p.size / size, size / max(p.size, 1)), default=None)
