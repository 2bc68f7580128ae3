"""The configuration as JSON and as command-line options; combinations that make no sense."""

import json
from typing import Any

import pytest
import tyro

from armillary.cli.train import Arguments
from armillary.config import (
    ObjectiveConfig,
    PlanetConfig,
    PlannerConfig,
    TrainingConfig,
    from_dict,
    planet_paper,
    to_dict,
)
from armillary.errors import UsageError


def _parse(*options: str) -> PlanetConfig:
    return tyro.cli(
        Arguments[PlanetConfig], args=list(options), default=Arguments(planet_paper())
    ).config


def test_options_have_their_short_names() -> None:
    config = _parse(
        *("--dynamics", "drnn", "--collection", "random", "--objective.overshooting", "12"),
        *("--objective.overshooting-scales", "0.5", "1.5"),
        *("--planner.iterations", "1", "--planner.elites", "1"),
    )
    assert config.model.dynamics == "drnn"
    assert config.collection.policy == "random"
    assert config.objective.overshooting_scales == (0.5, 1.5)
    assert config.planner == PlannerConfig(iterations=1, elites=1)
    assert _parse("--model.dynamics", "ssm").model.dynamics == "ssm"
    assert _parse("--collection.policy", "random").collection.policy == "random"
    assert _parse("--overlap").training.overlap
    assert not _parse().training.overlap


def test_json_gives_an_equal_and_hashable_configuration() -> None:
    config = PlanetConfig(objective=ObjectiveConfig(overshooting=3, overshooting_scales=(0.5, 1.5)))
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)


def test_a_configuration_of_before_the_multi_step_terms_is_still_read() -> None:
    values = to_dict(planet_paper())
    for name in [n for n in values["objective"] if "overshooting" in n or n == "distance"]:
        del values["objective"][name]
    del values["collection"]["policy"], values["objective"]["global_divergence_scale"]
    assert from_dict(values) == planet_paper()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distance": 2, "overshooting": 3}, "one of them must be 1"),
        ({"overshooting": 0}, "greater than zero"),
        ({"overshooting_scales": ()}, "give one or more"),
        ({"overshooting_scales": (1.0, -1.0)}, "must not be negative"),
        ({"overshooting_image_scale": -1.0}, "must not be negative"),
        ({"global_divergence_scale": -1.0}, "must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ObjectiveConfig(**fields)


def test_a_distance_must_fit_into_a_chunk() -> None:
    training = TrainingConfig(chunk_length=10)
    assert PlanetConfig(objective=ObjectiveConfig(distance=10), training=training)
    assert PlanetConfig(objective=ObjectiveConfig(overshooting=50), training=training)
    with pytest.raises(UsageError, match="no chunk is longer than 10"):
        PlanetConfig(objective=ObjectiveConfig(distance=11), training=training)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("objective.free_nats_per", "stez", "'step' or 'batch'"),
        ("model.dynamics", 3, "expected str"),
        ("model.dynamics", "rsm", "expected one of rssm, ssm, rnn, drnn.*Did you mean 'rssm'"),
        ("agent", ["planet"], "planet, dreamer"),
        ("task", 5, "expected str"),
        ("task", None, "expected str"),
        ("seed", 1.0, "expected int"),
        ("seed", True, "expected int"),
        ("planner.horizon", "5", "expected int"),
        ("planner", 3, "expected a dictionary"),
        ("model", {"hidden": None}, "expected int"),
        ("optimizer.learning_rate", [], "expected float"),
        ("environment.processes", 1, "expected bool"),
        ("environment.time_limit", 2.5, "expected int or None"),
        ("objective.overshooting_scales", ["a"], "expected tuple"),
        ("objective.overshooting_scales", 3, "expected tuple"),
        ("wandb", {"a": 1}, "expected str or None"),
    ],
)
def test_json_of_the_wrong_types_is_refused_by_its_field(
    name: str, value: Any, message: str
) -> None:
    values = to_dict(planet_paper())
    *parts, last = name.split(".")
    part = values
    for key in parts:
        part = part[key]
    part[last] = value
    with pytest.raises(UsageError, match=message) as caught:
        from_dict(values)
    assert (last in str(caught.value)) or last == "model"


def test_whole_numbers_are_numbers() -> None:
    values = to_dict(planet_paper())
    values["optimizer"]["clip_norm"] = 1000
    assert from_dict(values) == planet_paper()
