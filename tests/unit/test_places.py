"""Which directories are depots, which may be removed, and what their faults are called."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import entrepot
from entrepot import places, settings

FORMAT = places.Format(settings.FORMAT_VERSION, "some-boot", settings.MEMORY_BYTES_MIN)


def make(root: Path, name: str) -> Path:
    directory = root / name
    directory.mkdir(mode=0o700, parents=True)
    FORMAT.write(directory)
    return directory


# Names.


def test_leftovers_of_a_removal_that_was_killed_are_no_depots(tmp_path: Path) -> None:
    for name in ("lab", ".lab.4711.12345", "no name"):
        make(tmp_path, name)
    (tmp_path / "empty").mkdir()
    assert places.depot_names(tmp_path) == ["lab"]


def test_a_root_that_is_not_there_or_no_directory_has_no_depots(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert places.depot_names(tmp_path / "nothing") == []
    assert places.depot_names(tmp_path / "file") == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: to be another user")
def test_directories_of_other_users_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "mine")
    os.chown(tmp_path / "mine" / "format", 0, 0)
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            ok = places.depot_names(tmp_path) == []
        except BaseException:  # noqa: BLE001 a forked child of pytest must end here
            ok = False
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Relative directories.


def test_a_relative_directory_stays_where_it_was_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENTREPOT_DIR", "memory")
    monkeypatch.setenv("ENTREPOT_DATA", "data")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    found = [
        settings.memory_root(),
        settings.data_root(),
        settings.fallback_root(),
        places.choose_root(Path("given"), "lab", None),
    ]
    monkeypatch.delenv("ENTREPOT_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", "shared")
    found.append(settings.data_root())
    assert found == [
        tmp_path / "memory",
        tmp_path / "data",
        tmp_path / "cache" / "entrepot",
        tmp_path / "given",
        tmp_path / "shared" / "entrepot",
    ]


def test_the_durable_tier_of_a_relative_entrepot_data_does_not_follow_a_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENTREPOT_DATA", "data")
    with entrepot.open("lab", directory="memory", memory="64M") as depot:
        monkeypatch.chdir(tmp_path / "there")
        depot.space("p", persistent=True).store("v", 1)
    assert (tmp_path / "data" / "lab" / "format").exists()
    assert list((tmp_path / "there").iterdir()) == []


# Roots.


def test_only_roots_that_entrepot_makes_by_itself_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ENTREPOT_DIR", raising=False)
    assert places.is_own_root(settings.memory_root())
    assert places.is_own_root(tmp_path / "cache" / "entrepot" / "volatile")
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "mine"))
    assert not places.is_own_root(settings.memory_root())
    assert not places.is_own_root(tmp_path / "mine")


def test_depots_are_looked_for_where_open_would_open_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    disk = tmp_path / "cache" / "entrepot" / "volatile"
    monkeypatch.delenv("ENTREPOT_DIR", raising=False)
    assert places.memory_roots(None) == [settings.memory_root(), disk]
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "mine"))
    assert places.memory_roots(None) == [tmp_path / "mine"]
    assert places.memory_roots(tmp_path / "given") == [tmp_path / "given"]


# Faults.


@pytest.mark.parametrize(
    ("number", "kind", "word"),
    [
        (errno.ENOSPC, entrepot.OutOfMemoryError, "No space left"),
        (errno.EDQUOT, entrepot.OutOfMemoryError, "uota"),
        (errno.ENOMEM, entrepot.OutOfMemoryError, "memory"),
        (errno.EACCES, entrepot.AccessDeniedError, "Permission denied"),
        (errno.EPERM, entrepot.AccessDeniedError, "not permitted"),
        (errno.EROFS, entrepot.AccessDeniedError, "Read-only"),
        (errno.EMFILE, entrepot.UnavailableError, "ulimit -n"),
        (errno.ENFILE, entrepot.UnavailableError, "open files"),
        (errno.EIO, entrepot.UnavailableError, "Input/output"),
    ],
)
def test_a_fault_of_the_system_is_one_of_our_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[entrepot.EntrepotError],
    word: str,
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number))

    lab = tmp_path / "lab"
    monkeypatch.setattr(Path, "write_text", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(Path, "mkdir", fail)
    for act in (
        lambda: FORMAT.write(lab),
        lambda: places.Format.read(lab),
        lambda: places.private_directory(lab),
    ):
        with pytest.raises(kind) as caught:
            act()
        assert str(lab) in str(caught.value)
        assert word in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_under_the_durable_tier_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(entrepot.DiskFullError, match="lab"):
        places.Format(settings.FORMAT_VERSION, "any", 0).write(tmp_path / "lab")


def test_errors_of_ours_pass_as_they_are(tmp_path: Path) -> None:
    ours = entrepot.CorruptError("bad")  # an OSError too
    with pytest.raises(entrepot.CorruptError) as caught, places.system_errors(tmp_path):
        raise ours
    assert caught.value is ours


def test_a_draft_that_could_not_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(self: Path, _text: str) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(entrepot.OutOfMemoryError):
        FORMAT.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_format_file_of_another_version_names_the_command_that_removes_the_depot(
    tmp_path: Path,
) -> None:
    lab = make(tmp_path, "lab")
    (lab / "format").write_text("entrepot 999 boot 1\n")
    with pytest.raises(entrepot.FormatError, match="entrepot rm --all --depot lab"):
        places.Format.read(lab)
    (lab / "format").write_text("nonsense")
    with pytest.raises(entrepot.CorruptError, match="entrepot doctor --depot lab"):
        places.Format.read(lab)


def test_a_depot_whose_memory_cannot_be_had_leaves_nothing(tmp_path: Path) -> None:
    refused = entrepot.OutOfMemoryError, entrepot.UnavailableError  # as the file system has it
    with pytest.raises(refused, match="cannot use"):
        entrepot.open("lab", directory=tmp_path / "m", data_directory=tmp_path, memory="100T")
    assert places.depot_names(tmp_path / "m") == []
    with entrepot.open("lab", directory=tmp_path / "m", data_directory=tmp_path, memory="64M"):
        assert places.depot_names(tmp_path / "m") == ["lab"]
