import sys
from pathlib import Path

import platformdirs
import pytest

from backends import files

data_folder = files.data_folder  # before a fixture of all tests puts another in its place


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is platformdirs' own answer")
@pytest.mark.parametrize("base", [None, "", " ", "/data", "/data/", "relative", "~/data"])
def test_the_users_folder_is_where_platformdirs_has_it(monkeypatch, base):
    if base is None:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_HOME", base)
    expected = Path(platformdirs.user_data_dir("array-backends", appauthor=False)) / "profiles"
    assert Path(data_folder("profiles")) == expected


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.try_folder(tmp_path / "missing")
    assert caught.value.filename == str(tmp_path / "missing")
    files.try_folder(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_other_systems_have_the_folder_of_their_own(monkeypatch):
    monkeypatch.setattr(files.sys, "platform", "plan9")
    expected = Path(platformdirs.user_data_dir("array-backends", appauthor=False)) / "profiles"
    assert Path(data_folder("profiles")) == expected
