from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import config, files, machine, measurements, profile
from backends.measurements import Measured, Point
from backends.position import LAYOUTS, Position
from backends.profile import Choice, Key, ProfileError

SIN = Key("exact", "float64", "contiguous", "sin")
CHOICES = {
    SIN: (Choice(3000, "openmp", 2),),
    Key("exact", "float64", "strided", "sin"): (),
    Key("fast", "float32", "contiguous", "matmul"): (
        Choice(30, "openmp", 1),
        Choice(400, "threads", 2),
    ),
}
POINT = Point("sin", "float64", "contiguous", 10, [Measured("numpy", 1, "exact", 1e-6, 1, 1, 1)])

keys = st.builds(
    Key,
    st.sampled_from(["exact", "fast"]),
    st.sampled_from(["float32", "float64", "complex128"]),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(["sin", "add", "matmul", "ndtri"]),
)
steps = st.lists(
    st.builds(
        Choice,
        st.integers(0, 10**9),
        st.sampled_from(["numpy", "openmp", "threads", "torch"]),
        st.integers(1, 64),
    ),
    max_size=4,
    unique_by=lambda choice: choice.start,
).map(lambda found: tuple(sorted(found)))


@given(st.dictionaries(keys, steps, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(choices):
    written = profile.write("2026-01-02", choices, [POINT])
    assert profile.read(written.path) == written
    assert written.choices == choices
    assert measurements.read(written.path, "2026-01-02") == [POINT]


def test_who_never_tuned_has_no_profile_and_hears_nothing_of_it():
    assert profile.current() == (None, "")
    assert config.get_config().backend == ("numpy", "the default")


def test_the_profile_of_this_machine_is_found_and_chooses_where_nothing_else_does():
    written = profile.write("2026-01-02", CHOICES, [])
    assert profile.current() == (written, "")
    backend = config.get_config().backend
    assert (backend.value, str(written.path) in backend.source) == ("auto", True)
    with config.config_context(backend="threads"):
        assert config.get_config().backend.value == "threads"


def test_a_changed_machine_is_said_and_its_profile_kept(monkeypatch):
    written = profile.write("2026-01-02", CHOICES, [])
    changed = msgspec.structs.replace(machine.describe(), numpy="9.9.9", cores=4096)
    monkeypatch.setattr(machine, "describe", lambda: changed)
    found = profile.current()
    assert found.profile is None
    assert "cores" in found.problem
    assert "numpy '" in found.problem
    assert "backends tune" in found.problem
    with pytest.warns(UserWarning, match="kept and not used"):
        assert config.get_config().backend.value == "numpy"
    other = profile.write("2026-01-03", CHOICES, [])
    assert other.path != written.path
    assert written.path.exists()
    assert profile.current().profile == other


@pytest.mark.parametrize(
    ("old", "new", "says", "at"),
    [
        ('"openmp", n_jobs = 2', '"opnmp", n_jobs = 2', "did you mean 'openmp'", "sin = [{"),
        ('"openmp", n_jobs = 2', '"auto", n_jobs = 2', "there is no backend 'auto'", "sin = [{"),
        ("from = 3000", "from = -3000", "sin must look like", "sin = [{"),
        ("from = 3000", "from = 3e3", "sin must look like", "sin = [{"),
        ("from = 3000", "start = 3000", "sin must look like", "sin = [{"),
        ("n_jobs = 2 }", "n_jobs = true }", "sin must look like", "sin = [{"),
        ("sin = []", "sin = 3", "sin must look like", "sin = 3"),
        ("sin = []", "sine = []", "did you mean 'sin'", "sine = []"),
        ("from = 30,", "from = 500,", "must be more than the 500", "matmul ="),
        ("[exact.float64.strided]", "[exact.float64.stride]", "did you mean 'strided'", "stride]"),
        ("[exact.float64.strided]", "[exact.flat64.strided]", "did you mean 'float64'", "flat64"),
        ("[fast.f", "[quick.f", "there is no mode 'quick'", "[quick.f"),
        ("[exact.float64.strided]\nsin", "[fast]\nfloat64", "must be a table", "float64 = []"),
        ("schema = 1", "schema = 99", "schema 99 is not 1", "schema"),
        ("created = ", "created = 3 # ", "created must be a text", "created"),
        ("cores = ", "cores = 9", "it is for cores", "cores"),
        ("[machine]", "[engine]", "there is no table [machine]", ""),
    ],
)
def test_nonsense_is_refused_with_its_line(old, new, says, at):
    file = profile.write("2026-01-02", CHOICES, []).path
    text = file.read_text(encoding="utf-8").replace(old, new, 1)
    assert new in text
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        profile.read(file)
    message = str(caught.value)
    assert str(file) in message
    assert says in message
    if at:
        line = next(i for i, row in enumerate(text.splitlines(), start=1) if at in row)
        assert f"line {line}" in message
    assert profile.current().profile is None
    assert "backends tune" in profile.current().problem


@given(st.integers(0, 1200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_profile_that_is_cut_short_is_refused_or_still_right(length):
    whole = profile.write("2026-01-02", CHOICES, [])
    content = whole.path.read_bytes()
    whole.path.write_bytes(content[:length])
    if len(content[:length].rstrip()) == len(content.rstrip()):
        assert profile.read(whole.path) == whole
    else:
        with pytest.raises(ProfileError, match=r"cut short|line"):
            profile.read(whole.path)


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rubbish_is_refused(rubbish):
    file = profile.write("2026-01-02", CHOICES, []).path
    file.write_bytes(rubbish)
    with pytest.raises(ProfileError, match=r"amd|profiles|toml"):
        profile.read(file)


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x = " + "9" * 5000, ""])
def test_what_no_parser_likes_is_refused_with_the_file(text):
    file = profile.write("2026-01-02", CHOICES, []).path
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match="cut short"):
        profile.read(file)
    assert str(file) in profile.current().problem


def test_a_link_to_nowhere_disturbs_nobody():
    folder = profile.folder()
    folder.mkdir(parents=True)
    (folder / "lost.toml").symlink_to(folder / "nowhere")
    assert profile.current().profile is None
    assert "cannot be read" in profile.current().problem


def test_an_unreadable_neighbour_is_another_machine():
    file = profile.write("2026-01-02", CHOICES, []).path
    file.rename(file.with_name("other.toml"))
    file.with_name("other.toml").write_bytes(b"\xff\xfe")
    profile.current.cache_clear()
    assert "another machine" in profile.current().problem


def test_mode_fast_has_what_exact_has_and_more():
    found = profile.write("2026-01-02", CHOICES, [])
    place = Position("float64", "contiguous", 10)
    assert found.find("exact", "sin", place) == found.find("fast", "sin", place)
    assert found.find("exact", "sin", place) == (SIN, CHOICES[SIN])
    assert found.find("exact", "matmul", Position("float32", "contiguous", 1)) is None
    assert found.find("fast", "matmul", Position("float32", "contiguous", 1)) is not None


def test_measurements_of_another_run_are_not_taken_for_this_ones():
    file = profile.write("2026-01-02", CHOICES, [POINT]).path
    assert measurements.read(file, "2026-01-03") == []
    file.with_suffix(".json").write_bytes(b'{"schema": 1')
    assert measurements.read(file, "2026-01-02") == []
    file.with_suffix(".json").unlink()
    assert measurements.read(file, "2026-01-02") == []


def test_a_disk_that_is_full_leaves_the_old_profile(monkeypatch):
    old = profile.write("2026-01-02", CHOICES, [POINT])

    def full(file, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        profile.write("2026-01-03", {}, [])
    assert profile.read(old.path) == old


def test_a_profile_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(profile.ProfileError, match=r"gone\.toml: No such file"):
        profile.read(tmp_path / "gone.toml")
