"""Build dist/ and try it: an sdist, and the wheel made of it, with the OpenMP runtime inside.

The wheel is installed into an empty environment without a compiler, and the command runs there:
``make wheel``. ``python tools/wheel.py WHEEL`` tries a wheel that is there already.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
WINDOWS = sys.platform == "win32"
#: What puts the libraries that a wheel needs into it, by platform.
REPAIR = {
    "linux": ("auditwheel", "repair", "--wheel-dir"),
    "darwin": ("delocate-wheel", "--wheel-dir"),
    "win32": ("delvewheel", "repair", "--wheel-dir"),
}
#: Where the repaired wheel has them, and the file's name there.
RUNTIME = {"linux": "libgomp", "darwin": "libomp", "win32": "libgomp"}

LOADED = """\
import sys
from pathlib import Path
import backends
from backends.engines.extension import load

engine = load()
sys.exit(engine) if isinstance(engine, str) else None
with backends.config_context(backend="openmp", n_jobs=2):
    backends.sin([0.5] * 1_000_000)
if sys.platform == "linux":
    used = {line.split()[-1] for line in Path("/proc/self/maps").open() if "libgomp" in line}
    ours = [name for name in used if "array_backends.libs" in name]
    sys.exit(f"the engine uses a libgomp that is not the wheel's: {used}") if not ours else None
print(f"the engine is there: {engine.INSTRUCTIONS}")
"""
REFUSED = """\
import sys
from backends.engines.extension import load

reason = load()
sys.exit(f"the engine is there: {reason}") if "without a C compiler" not in str(reason) else None
print(f"openmp: {reason}")
"""


def main(arguments: Sequence[str]) -> None:
    """Build and try, or try the wheels that are named."""
    wheels = [Path(each).resolve() for each in arguments] or [build(ROOT / "dist")]
    for wheel in wheels:
        look_into(wheel)
        with tempfile.TemporaryDirectory() as folder:
            attempt(wheel, Path(folder))
        print(f"{wheel.name}: installed without a compiler, and works")


def build(dist: Path) -> Path:
    """Give the repaired wheel; beside it is the sdist that it was made of."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False).returncode == 1:
        sys.exit("the sdist is made of the last commit, and there are changes since: commit them")
    with tempfile.TemporaryDirectory() as folder:
        run([sys.executable, "-m", "build", "--outdir", folder, str(ROOT)])
        (sdist,) = Path(folder).glob("*.tar.gz")
        (wheel,) = Path(folder).glob("*.whl")
        if wheel.name.split("-")[1] != sdist.name.removesuffix(".tar.gz").split("-")[1]:
            sys.exit(f"{sdist.name} gives {wheel.name}: another version")
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        shutil.move(sdist, dist)
        if is_pure(wheel):  # there was no compiler that knows OpenMP
            shutil.move(wheel, dist)
        else:
            run([*REPAIR[sys.platform], str(dist), str(wheel)])
    (repaired,) = dist.glob("*.whl")
    return repaired


def is_pure(wheel: Path) -> bool:
    """Say whether a wheel is without the engine: for every platform."""
    return wheel.name.endswith("-none-any.whl")


def look_into(wheel: Path) -> None:
    """Raise ValueError unless a wheel has what it must have, and nothing that it must not."""
    names = zipfile.ZipFile(wheel).namelist()
    must = ["backends/__init__.py", "backends/py.typed", "/entry_points.txt", "/LICENSE"]
    if not is_pure(wheel):
        must += ["backends/_openmp.", RUNTIME[sys.platform]]
    for each in must:
        if not any(each in name for name in names):
            raise ValueError(f"{wheel.name} has no {each}")
    for name in names:
        if name.endswith((".c", ".h", ".sollya", ".pyc", "meson.build")):
            raise ValueError(f"{wheel.name} has {name}, which only its making needs")


def attempt(wheel: Path, folder: Path) -> None:
    """Install a wheel where there is nothing, least of all a compiler, and use it."""
    venv.create(folder / "env", with_pip=True, symlinks=not WINDOWS)
    programs = folder / "env" / ("Scripts" if WINDOWS else "bin")
    python, command = str(programs / "python"), str(programs / "backends")
    environment = bare(programs, folder)
    # Every dependency as a wheel, too: nothing is compiled here, even where something could be.
    pip = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", str(wheel)]
    run(pip, folder, environment)
    said = run([command, "--version"], folder, environment)
    version = wheel.name.split("-")[1]
    if said.split() != ["backends", version]:
        raise ValueError(f"{wheel.name}: backends --version says {said!r}")
    run([command, "list"], folder, environment)
    bench = [command, "bench", "add", "--size", "1e4", "--time", "0.1"]
    print(run(bench, folder, environment))
    engine = REFUSED if is_pure(wheel) else LOADED
    print(run([python, "-c", engine], folder, environment), end="")


def bare(programs: Path, folder: Path) -> Mapping[str, str]:
    """Give an environment without compilers, other Pythons' packages and the user's files."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKENDS_", "PYTHON", "CONDA", "VIRTUAL_ENV"))
    }
    system = [str(Path(os.environ["SYSTEMROOT"]) / "System32")] if WINDOWS else []
    nothing = "/bin/false"
    return {
        **keep,
        "PATH": os.pathsep.join([str(programs), *system]),
        "CC": nothing,
        "CXX": nothing,
        "XDG_DATA_HOME": str(folder / "data"),
        "PYTHONNOUSERSITE": "1",
    }


def run(
    command: Sequence[str], folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command and give what it printed; where it fails, show that and end."""
    print("$", shlex.join(command).partition("\n")[0], flush=True)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{Path(command[0]).name} ended with status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
