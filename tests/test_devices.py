"""GPUs lent to one job at a time; the devices here are names and lock files."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import FAST, Cli
from sweeping import WATCHER, completed, noted

from pinntk.launch import devices
from pinntk.launch.devices import Device, lease, visible_devices


def fakes(folder: Path, count: int) -> list[Device]:
    return [Device(f"fake{k}", folder / "locks" / f"{k}.lock") for k in range(count)]


def work(folder: Path, found: list[Device], first: int, jobs: int, die_at: int | None) -> None:
    """Jobs of uneven length; a device that is in use is known by a file that only one process can make."""
    rng = random.Random(first)
    for number in range(first, first + jobs):
        with lease(found, lambda text: None) as device:
            mark = folder / f"{device.name}.used"
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                (folder / f"shared{number}").touch()
            time.sleep(rng.uniform(0, 0.03))
            mark.unlink()
            if number == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            (folder / f"done{number}").write_text(device.name)


def test_no_two_jobs_share_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty jobs of two sweeps with five workers each on three devices; one worker is killed as it holds a device."""
    monkeypatch.setattr(devices, "SECONDS_BETWEEN_LOOKS", 0.001)
    found = fakes(tmp_path, 3)
    children = []
    for worker in range(10):
        # The second sweep knows the same devices in another order.
        mine = found if worker < 5 else found[::-1]
        child = os.fork()
        if child == 0:
            work(tmp_path, mine, 5 * worker, 5, die_at=12)
            os._exit(0)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [-signal.SIGKILL if worker == 2 else 0 for worker in range(10)]
    assert list(tmp_path.glob("shared*")) == []
    assert len(list(tmp_path.glob("done*"))) == 50 - 3
    assert {path.read_text() for path in tmp_path.glob("done*")} == {"fake0", "fake1", "fake2"}


def test_the_device_of_a_killed_job_is_free(tmp_path: Path) -> None:
    (device,) = fakes(tmp_path, 1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with lease([device]):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    said: list[str] = []

    def release(text: str) -> None:
        said.append(text)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    with lease([device], release) as got:
        assert got == device
    assert said == ["waits for a free GPU"]


@pytest.mark.parametrize(("variable", "names"), [(None, ["0", "1"]), ("3,GPU-b", ["3", "GPU-b"]), ("3", ["3"])])
def test_devices_are_those_that_cuda_sees(
    variable: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda k: SimpleNamespace(uuid=f"uuid-{k}"))
    found = visible_devices()
    assert [device.name for device in found] == names
    # By what the device is, not by what this process calls it; and not in TMPDIR.
    assert [device.lock for device in found] == [Path(f"/tmp/pinntk-gpus/uuid-{k}.lock") for k in range(len(names))]


def test_parts_of_a_device_are_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda k: SimpleNamespace(uuid="the whole one's"))
    assert [device.lock.stem for device in visible_devices()] == ["MIG-a", "MIG-b"]


@pytest.mark.slow
def test_the_launcher_gives_each_job_a_device(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "watcher.py").write_text(WATCHER)
    monkeypatch.syspath_prepend(cli.folder)
    monkeypatch.setattr("pinntk.launch.launchers.visible_devices", lambda: fakes(cli.folder, 2))
    words = ["+callbacks.watcher._target_=watcher.Watcher", f"+callbacks.watcher.folder={cli.folder}"]
    ended = cli(*FAST, *words, "-m", "seed=0,1,2", "hydra/launcher=gpus", "+callbacks.watcher.slow=0.3")
    assert ended.code == 0, ended.err
    assert len(completed(cli.folder)) == 3
    given = [(pid, device) for _, pid, device in noted(cli.folder, "started")]
    assert len({pid for pid, _ in given}) == 3
    assert {device for _, device in given} == {"fake0", "fake1"}
