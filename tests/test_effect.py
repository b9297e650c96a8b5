"""Settings count, or they are refused: which keys change nothing, and what the command line says of them."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from conftest import Cli
from training import fit, make_of, parameters

from pinntk.launch.cli import compose, configuration_folder, groups
from pinntk.launch.composition import Composer
from pinntk.methods.adam import AdamMethod
from pinntk.methods.gdnd_theory import GDNDTheory
from pinntk.pdes.convection import Convection
from pinntk.residual.points import PointSettings
from pinntk.runs.settings import RunSettings

SMOKE = ["budget=smoke", "threads=1", "width=10"]

REFUSED = [
    # counts of points for terms that the problem does not have, or whose faces are single points
    ("pde=poisson1d method=adam points.initial=5", "points.initial=5: counts only with initial terms"),
    ("pde=poisson1d method=gdnd points.boundary=50", "points.boundary=50: counts only where a face"),
    # schedules
    (
        "pde=wave method=adam method.adam.schedule.decay=0.5",
        "method.adam.schedule.decay=0.5: counts only with kind=exp",
    ),
    ("pde=wave method=adam method.adam.schedule={kind:cosine,every:5}", "method.adam.schedule.every=5: counts only"),
    (
        "pde=wave method=pinn_ntk method.adam.schedule.final=0.1",
        "method.adam.schedule.final=0.1: counts only with kind=cos",
    ),
    ("pde=wave method=pinn_ntk method.optimizer=gd method.adam.betas=[0.8,0.9]", "method.adam.betas=[0.8,0.9]: counts"),
    # phases without steps, stagnation without a window
    (
        "pde=wave method=gdnd method.adam.steps=0 method.adam.learning_rate=1",
        "method.adam.learning_rate=1: counts only",
    ),
    ("pde=wave method=gdnd method.nncg.steps=0 method.nncg.rank=9", "method.nncg.rank=9: counts only with steps > 0"),
    (
        "pde=wave method=adam method.steps=0 method.adam.schedule.kind=cosine",
        "method.adam.schedule.kind=cosine: counts",
    ),
    (
        "pde=wave method=ntk_ng method.natural_gradient.resample_growth=2",
        "method.natural_gradient.resample_growth=2: counts only with resample_every",
    ),
    ("pde=wave method=gdnd method.lbfgs.stagnation.decrease=0.1", "method.lbfgs.stagnation.decrease=0.1: counts only"),
    # optimisers
    (
        "pde=wave method=gdnd method.nncg.damping_rule=fixed method.nncg.increase=3",
        "method.nncg.increase=3: counts only",
    ),
    (
        "pde=wave method=ntk_ng method.natural_gradient.solver=kernel method.natural_gradient.max_cg=9",
        "max_cg=9: counts",
    ),
    ("pde=wave method=gdnd_theory method.descent.learning_rate=1e-3 method.descent.rate=0.5", "rate=0.5: counts only"),
    # one term, and nothing to balance it with
    (
        "pde=wave network=hard method=gauss_newton method.gauss_newton.balance=rows",
        "method.gauss_newton.balance=rows: this run trains residual alone; allowed is null",
    ),
    (
        "pde=wave network=hard method=plan method.phases=[{gauss_newton:{steps:3,balance:rows}}]",
        "method.phases.0.gauss_newton.balance=rows: this run trains residual alone; allowed is null",
    ),
    (
        "pde=wave method=gauss_newton method.gauss_newton.steps=0 method.gauss_newton.balance=rows",
        "method.gauss_newton.balance=rows: counts only with steps > 0",
    ),
    # draws
    ("pde=wave method=gdnd_theory points.resample_every=5", "points.resample_every=5: counts only in an Adam phase"),
    ("pde=wave method=gdnd method.adam.steps=0 points.resample_every=5", "points.resample_every=5: counts only in an"),
    (
        "pde=wave method=gdnd points.sampling=grid method.nncg.resample_every=5",
        "method.nncg.resample_every=5: counts only",
    ),
    ("pde=wave method=adam points.by_residual=0.5", "points.by_residual=0.5: counts from the second draw"),
    (
        "pde=wave method=adam points.by_residual=0.5 points.resample_every=200",
        "points.by_residual=0.5: counts from the",
    ),
    ("pde=wave method=gdnd method.lbfgs.steps=0 method.nncg.steps=0 points.by_residual=0.5", "points.by_residual=0.5"),
    # what the methods on the discrete form, and only they, make no use of
    ("pde=wave method=pcpinn points.interior=50", "points.interior=50: counts only for methods on the strong form"),
    ("pde=wave method=pcpinn_ng points.boundary=50", "points.boundary=50: counts only for methods on the strong form"),
    ("pde=wave method=pcpinn points.resample_every=5", "points.resample_every=5: counts only for other methods"),
    ("pde=wave method=pcpinn_gdnd method.form=direct method.batch=9", "method.batch=9: counts only with form=applied"),
    ("pde=wave method=pcpinn_gdnd method.form=direct points.sampling=sobol", "points.sampling=sobol: counts only with"),
    (
        "pde=wave method=pcpinn_gdnd method.form=direct points.by_residual=0.5",
        "points.by_residual=0.5: counts from the",
    ),
    (
        "pde=wave method=pcpinn_gdnd method.form=solved method.refresh_every=9",
        "method.refresh_every=9: counts only with",
    ),
    ("pde=wave method=adam discretization.cells=32", "discretization.cells=32: counts only for the pcpinn methods"),
    # a sweep: in none of its jobs
    ("-m pde=poisson1d method=adam points.initial=5,6", "points.initial=5,6: counts only"),
    (
        "-m pde=wave,burgers method=adam seed=0,1 method.adam.schedule.decay=0.5",
        "method.adam.schedule.decay=0.5: counts",
    ),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[words for words, _ in REFUSED])
def test_what_changes_nothing_is_refused(cli: Cli, words: str, line: str) -> None:
    ended = cli(*SMOKE, *words.split())
    assert ended.code == 2, ended.out
    assert len(ended.err.splitlines()) == 1
    assert line in ended.err
    assert os.listdir(cli.folder) == []


@pytest.mark.parametrize(
    "words",
    [
        "pde=poisson1d,wave method=adam points.initial=5",  # the wave has initial values
        "pde=wave method=adam method.adam.schedule.kind=constant,exponential method.adam.schedule.decay=0.5,0.6",
        "pde=wave method=adam,gdnd_theory points.resample_every=50",
        "pde=wave method=ntk_ng method.adam.steps=0 points.resample_every=5",  # its other phase takes it over
    ],
)
def test_a_sweep_takes_what_counts_in_one_of_its_jobs(words: str) -> None:
    conf = configuration_folder()
    Composer((conf,), groups(conf)).check_sweep([*SMOKE, *words.split()])


@pytest.mark.parametrize(
    "words",
    [
        "method=adam points.resample_every=50",
        "method=gdnd",  # a phase begins with a draw of its own
        "method=adam_lbfgs method.adam.steps=0 method.lbfgs.resample_every=10",
        "method=adam method.steps=0",  # nothing is trained
    ],
)
def test_points_are_drawn_by_residual_where_there_is_a_second_draw(words: str) -> None:
    config = compose([*SMOKE, "pde=wave", *words.split(), "points.by_residual=0.5"])
    assert RunSettings.read(config).points.by_residual == 0.5


def test_files_may_hold_what_only_counts_elsewhere() -> None:
    """conf/method/adam.yaml has all keys of every schedule, conf/pde/poisson1d.yaml a number of boundary points."""
    config = compose([*SMOKE, "pde=poisson1d", "method=adam"])
    unused = RunSettings.read(config).without_effect()
    assert unused.keys() == {
        *("points.initial", "points.boundary"),
        "discretization",
        *("method.balance", "method.update_every"),
        *(f"method.attention.{key}" for key in ("potential", "memory", "share")),
        *(f"method.adam.schedule.{key}" for key in ("decay", "every", "final")),
    }


def test_what_is_refused_does_change_nothing() -> None:
    """Trained with and without: the parameters are the same, bit for bit; with a setting that counts they are not."""

    def trained(kind: type[AdamMethod] | type[GDNDTheory], settings: dict[str, Any], **points: Any) -> torch.Tensor:
        few = PointSettings(interior=20, initial=5, boundary=5, **points)
        method = make_of(kind, Convection(), few, **settings)
        fit(method)
        return parameters(method)

    adam = {"steps": 6}
    assert torch.equal(trained(AdamMethod, adam), trained(AdamMethod, adam, by_residual=0.5))
    again = trained(AdamMethod, adam, resample_every=2)
    assert not torch.equal(again, trained(AdamMethod, adam, resample_every=2, by_residual=0.5))
    theory = {"descent": {"steps": 4}, "newton": {"steps": 0}}
    assert torch.equal(trained(GDNDTheory, theory), trained(GDNDTheory, theory, resample_every=2))
    assert not torch.equal(trained(AdamMethod, adam), again)
