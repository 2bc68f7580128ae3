"""docs/extending.md as it is written: an objective and dynamics of one's own, from the outside."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import armillary
from armillary.agents import registry
from armillary.agents.planet import Planet
from armillary.agents.random import Random
from armillary.cli import evaluate, train
from armillary.config import CONFIGS, PRESETS, PlanetConfig
from armillary.config.typed import options
from armillary.dynamics.world_model import DYNAMICS
from armillary.errors import UsageError
from armillary.nets.distributions import Normal
from armillary.training.run import Run
from settings import TINY

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BALANCED, CONFIG, RESIDUAL = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's modules, and nothing known of them yet."""
    (tmp_path / "balanced.py").write_text(BALANCED + CONFIG)
    (tmp_path / "residual.py").write_text(RESIDUAL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for table in (registry.AGENTS, CONFIGS, PRESETS, DYNAMICS):
        for name in [name for name in table if ":" in name]:
            monkeypatch.delitem(table, name)
    return tmp_path


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process would begin."""
    for table in (registry.AGENTS, CONFIGS, PRESETS, DYNAMICS):
        for name in [name for name in table if ":" in name]:
            monkeypatch.delitem(table, name)


@pytest.mark.slow
def test_an_agent_and_dynamics_of_ones_own(
    outside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Trained, continued, evaluated and loaded by name; a stranger's folder is asked about."""
    given = [*options(replace(TINY, episodes=3))[2:], "--dynamics", "residual:Residual"]
    given = given[: given.index("--preset")] + given[given.index("--preset") + 2 :] \
        if "--preset" in given else given  # fmt: skip
    assert train.run(["--agent", "balanced:Balanced", "--run", "run", *given]) == 0
    content = json.loads((outside / "run" / "config.json").read_text())["config"]
    assert content["agent"] == "balanced:Balanced"
    assert content["model"]["dynamics"] == "residual:Residual"
    agent = armillary.load("run", trust=True)
    assert type(agent.agent).__name__ == "Balanced"
    assert type(agent.state.model.dynamics).__name__ == "Residual"

    _forget(monkeypatch)
    with pytest.raises(UsageError, match=r"imports the Python module 'balanced'.*--trust"):
        armillary.load("run")
    with pytest.raises(UsageError, match=r"--trust, or name the agent yourself"):
        evaluate.run(["run", "--episodes", "1"])
    assert "balanced:Balanced" not in registry.AGENTS
    capsys.readouterr()
    assert evaluate.run(["run", "--episodes", "1", "--trust", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agent"] == "balanced:Balanced"


def test_kl_balancing_by_hand(outside: Path) -> None:
    """0.8 of the gradient goes to the prior, 0.2 to the posterior; the value is the divergence."""
    page: dict = {}
    exec(BALANCED, page)

    def loss(means):
        q, p = (Normal(m[None], jnp.ones((1, 1))) for m in means)
        return page["balanced"](q, p, 0.0, "batch")

    value, (to_q, to_p) = jax.value_and_grad(loss)((jnp.array([2.0]), jnp.array([0.0])))
    assert value == pytest.approx(2.0)  # half the squared distance
    np.testing.assert_allclose((to_q[0], to_p[0]), (0.2 * 2, -0.8 * 2), rtol=1e-5)


def test_a_name_in_python(outside: Path) -> None:
    mine = type("Mine", (Planet,), {"config_class": PlanetConfig})
    try:
        assert armillary.register_agent(mine, "mine") == "mine"
        assert armillary.preset("small", "mine").agent == "mine"
        with pytest.raises(UsageError, match="'planet' is taken"):
            armillary.register_agent(mine, "planet")
    finally:
        for table in (registry.AGENTS, CONFIGS, PRESETS):
            table.pop("mine", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("balanced:Balances", "there is no 'Balances' in 'balanced'. Did you mean 'Balanced'"),
        ("nowhere:Agent", "names the module 'nowhere'.*start in the folder that holds it"),
        ("os:abort", "standard library, which has no agent"),
        ("balanced:balanced", "has no init"),
        ("balanced", "unknown agent 'balanced', expected one of planet, dreamer"),
        (":x", "names no module"),
    ],
)
def test_what_is_no_agent_is_said(outside: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train.run(["--agent", name])


def test_an_agent_without_a_configuration_is_refused() -> None:
    with pytest.raises(UsageError, match="config_class"):
        armillary.register_agent(type("Bare", (Planet,), {}), "bare")
    with pytest.raises(UsageError, match="no update"):
        armillary.register_agent(Random, "random")
    with pytest.raises(UsageError, match=r"derives from armillary\.dynamics\.base\.Dynamics"):
        armillary.register_dynamics(SimpleNamespace, "simple")


def test_dynamics_that_are_none_are_said(outside: Path) -> None:
    with pytest.raises(UsageError, match="no 'Residua' in 'residual'"):
        train.run(["--dynamics", "residual:Residua"])


def test_a_run_that_is_damaged_imports_nothing(outside: Path) -> None:
    (outside / "run").mkdir()
    for values in ({"agent": "balanced:Balanced"}, {"model": {"dynamics": "residual:Residual"}}):
        text = json.dumps({"format": 1, "version": "0", "config": values})
        (outside / "run" / "config.json").write_text(text)
        with pytest.raises(UsageError, match="--trust"):
            _ = Run("run").config
    assert not [name for name in (*registry.AGENTS, *DYNAMICS) if ":" in name]
