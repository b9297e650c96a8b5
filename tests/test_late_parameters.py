"""Parameters that a method gives itself when it starts: saved, resumed, loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli, assert_same_network
from torch import nn
from training import fit, make_of, parameters, stop_at

import pinntk
from pinntk.callbacks import TimedCheckpoint
from pinntk.common.errors import BadInput
from pinntk.methods import Method, MethodSettings
from pinntk.residual.residuals import term_losses


class Learning(Method):
    """Learns a scale of the loss, in a parameter of its own and one of a layer, with the network."""

    class Settings(MethodSettings):
        steps: int = 40

    name = "learning"

    @property
    def total_iterations(self) -> int:
        steps: int = self.settings.steps
        return steps

    def start(self, state: Mapping[str, Any] | None) -> None:
        self.scale = nn.Parameter(torch.zeros((), dtype=self.dtype_))
        inner = nn.Linear(1, 1, dtype=self.dtype_)
        nn.init.constant_(inner.weight, 0.5)
        nn.init.zeros_(inner.bias)
        self.layer = nn.Sequential(inner)
        self.register_buffer("seen", torch.zeros((), dtype=self.dtype_))
        late = [self.scale, *self.layer.parameters()]
        self.optimizer = torch.optim.Adam([*self.network.parameters(), *late], lr=1e-2)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def advance(self, end: int) -> None:
        losses = []
        while self.iteration < end and not self.stop_requested:
            terms = term_losses(list(self.residuals(self.batches()).values()), self.settings.normalization)
            loss = terms.sum() * torch.exp(-self.scale) + self.scale + self.layer(self.scale[None]).square().sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.get_buffer("seen").add_(1)
            losses.append(terms.detach().sum()[None])
            self.iteration += 1
        self.log_losses(("loss",), losses)


def learning() -> Learning:
    return make_of(Learning, steps=40, log_every=10)


def test_resumed_is_as_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, first, resumed = learning(), learning(), learning()
    fit(whole)
    stop_at(first, 17, monkeypatch)
    fit(first, [TimedCheckpoint(tmp_path / "last.ckpt", 1e9)])
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert float(saved["scale"]) != 0
    assert float(saved["seen"]) == 17
    fit(resumed, resume=tmp_path / "last.ckpt")
    assert torch.equal(parameters(resumed), parameters(whole))
    assert resumed.state_dict().keys() == whole.state_dict().keys() >= {"scale", "seen", "layer.0.weight"}
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


WORDS = "pde=poisson1d method=learning budget=smoke threads=1 width=10 tuned=null method.log_every=10".split()


@pytest.fixture
def flag(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The method on the command line."""
    (cli.folder / "mine" / "method").mkdir(parents=True)
    yaml = "_target_: test_late_parameters.Learning\nsteps: 40\nlog_every: 100\nweights: {}\nnormalization: mean\n"
    (cli.folder / "mine" / "method" / "learning.yaml").write_text(yaml)
    return ["--config-dir", "mine"]


@pytest.mark.slow
def test_on_the_command_line(cli: Cli, flag: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        advance = Learning.advance

        def breaking(self: Learning, end: int) -> None:
            if self.iteration == 20:
                raise ZeroDivisionError
            advance(self, end)

        patch.setattr(Learning, "advance", breaking)
        with pytest.raises(ZeroDivisionError):
            cli(*flag, *WORDS, "checkpoint.every_seconds=1e-9")
    ended = cli(*flag, *WORDS)
    assert ended.code == 0, ended.err
    assert "resuming at iteration 20" in ended.out
    folder = cli.run_folder()
    run = pinntk.load(folder)
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert float(saved["seen"]) == 40
    assert float(run.method.state_dict()["scale"]) == float(saved["scale"])
    assert torch.equal(run.method.state_dict()["layer.0.weight"], saved["layer.0.weight"])
    # Another run begins with its network, and makes the rest anew.
    assert cli(*flag, *WORDS, f"init_from={folder}", "method.steps=0").code == 0
    assert cli(*flag, *[w for w in WORDS if "learning" not in w], "method=adam", f"init_from={folder}").code == 0
    (other,) = (path for path in cli.run_folders() if path.parts[-5] == "learning" and path != folder)
    late = pinntk.load(other).method.state_dict()
    assert float(late["scale"]) == float(late["seen"]) == 0
    assert_same_network(pinntk.load(other).method.network, run.method.network)  # type: ignore[arg-type]


def test_what_no_start_makes_any_more_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = learning()
    fit(first, [TimedCheckpoint(tmp_path / "last.ckpt", 1e9)])
    start = Learning.start

    def other(self: Learning, state: Mapping[str, Any] | None) -> None:
        start(self, None)
        self.scale = nn.Parameter(torch.zeros(2, dtype=self.dtype_))

    monkeypatch.setattr(Learning, "start", other)
    with pytest.raises(BadInput, match=r"scale, made when a training starts, is \(\) there and \(2,\) here"):
        fit(learning(), resume=tmp_path / "last.ckpt")
