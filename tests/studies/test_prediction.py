"""Open-loop prediction: of known models, aligned with the truth, beside what knows nothing."""

import json
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import known
from armillary.config import PlanetConfig
from armillary.errors import RunError, UsageError
from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.studies import foresight
from armillary.studies.prediction import (
    LAST_FRAME,
    MEAN_IMAGE,
    Comparison,
    compare,
    mean_training_image,
    open_loop,
)
from armillary.training.player import Player
from folders import forged

GREY = np.full((64, 64, 3), 127, np.uint8)


def episodes(count: int = 4, steps: int = 80) -> list[Episode]:
    return [recording.episode for recording in known.recordings(count, steps)]


@dataclass(frozen=True)
class Seer:
    """An agent that predicts what is to come, or what comes `shift` frames later."""

    shift: int = 0
    action_size: int = 1
    predicts_frames: bool = True

    def predict(self, state, observations, actions, key, context):
        return jnp.roll(observations["image"], -self.shift, axis=0)


def seer(shift: int = 0) -> Player:
    return Player(PlanetConfig(), Seer(shift), (), {})  # type: ignore[arg-type]


def test_who_knows_the_future_is_perfect_and_who_is_one_frame_off_is_not() -> None:
    players = {"exact": seer(), "late": seer(-1), "early": seer(1)}
    comparison = compare(players, episodes(), mean_image=GREY)
    table = comparison.as_dict()
    assert table["steps"] == list(range(-4, 46))
    assert table["models"]["exact"]["mse"]["mean"] == [0] * 50
    assert table["models"]["exact"]["psnr"]["p5"] == [100] * 50
    for label in ("late", "early"):
        off = comparison.quality[label]
        assert (off["mse"][:, 5:].mean(0) > 10).all()
        assert (off["psnr"][:, 5:].mean(0) < 60).all()
        assert (off["ssim"][:, 5:].mean(0) < 0.9999).all()


def test_a_model_that_knows_the_system_predicts_it() -> None:
    dynamics = {
        "exact": known.Exact(),
        "still": known.Exact(responds=False),
        "lag": known.Exact(lag=True),
    }
    players = {label: known.player(d) for label, d in dynamics.items()}
    comparison = compare(players, episodes(), mean_image=GREY)
    mse = {label: values["mse"] for label, values in comparison.quality.items()}
    assert mse["exact"].max() <= 2  # one or two steps of brightness
    assert comparison.quality["exact"]["psnr"].min() > 45
    # Wrong about the actions, these see as well and predict badly: the context is aligned and used.
    for label in ("still", "lag"):
        assert mse[label][:, :5].max() <= 2
        assert mse[label][:, 5:].mean() > 100
    # To stay as one was last seen is the baseline of the last context frame.
    np.testing.assert_allclose(mse["still"][:, 5:], mse[LAST_FRAME][:, 5:], atol=1, rtol=0.1)


def test_baselines_know_nothing_but_their_frame() -> None:
    comparison = compare({"exact": seer()}, episodes(3), mean_image=GREY, context=7, length=30)
    true = comparison.true.astype(float)
    assert comparison.true.shape == (3, 30, 64, 64, 3)
    expected = ((true[:, 7:] - true[:, 6:7]) ** 2).mean((2, 3, 4))
    np.testing.assert_allclose(comparison.quality[LAST_FRAME]["mse"][:, 7:], expected)
    expected = ((true - 127) ** 2).mean((2, 3, 4))
    np.testing.assert_allclose(comparison.quality[MEAN_IMAGE]["mse"], expected)
    table = comparison.as_dict()
    assert table["baselines"][MEAN_IMAGE]["mse"]["mean"][:7] == [None] * 7
    np.testing.assert_allclose(
        table["baselines"][MEAN_IMAGE]["mse"]["p50"][7:], np.median(expected, 0)[7:]
    )


def test_stretches_are_drawn_from_all_of_an_episode_by_the_seed() -> None:
    def starts(seed: int) -> list[int]:
        found = compare({"x": seer()}, played, mean_image=GREY, seed=seed).true
        whole = [[np.array_equal(e.image[i : i + 50], t) for i in range(32)] for e, t in
                 zip(played, found, strict=True)]  # fmt: skip
        return [row.index(True) for row in whole]

    played = episodes(8)
    assert starts(0) == starts(0) != starts(1)
    assert len(set(starts(0))) > 3


def test_equal_seeds_predict_equally(trained: Path) -> None:
    from armillary.training.player import load

    player, episode = load(trained), EpisodeStore(trained / "test").load(0)
    first, again, other = (open_loop(player, episode, seed=s)[1] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_mean_image_is_that_of_all_frames(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    with pytest.raises(UsageError, match="no training episode"):
        mean_training_image(store)
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (rows, 64, 64, 3), np.uint8) for rows in (2, 9)]
    for index, image in enumerate(images):
        rows = len(image)
        store.write(
            3 * index,
            Episode({"image": image}, np.zeros((rows, 1), np.float32), np.zeros(rows, np.float32)),
        )
    expected = np.rint(np.concatenate(images).mean(0)).astype(np.uint8)
    np.testing.assert_array_equal(mean_training_image(store), expected)
    expected = np.rint(images[1].mean(0)).astype(np.uint8)
    np.testing.assert_array_equal(mean_training_image(store, [3]), expected)


def test_too_short_for_the_context() -> None:
    with pytest.raises(UsageError, match="nothing to predict"):
        compare({"x": seer()}, episodes(1, steps=4), mean_image=GREY)
    with pytest.raises(UsageError, match="at least one of each"):
        compare({"x": seer()}, [], mean_image=GREY)
    with pytest.raises(UsageError, match="at least one of each"):
        compare({"x": seer()}, episodes(1), mean_image=GREY, context=0)


def coloured(levels: dict[str, int]) -> Comparison:
    """A comparison whose frames are flat, and say by colour what and when they are."""
    frames = {}
    for name, level in levels.items():
        frames[name] = np.zeros((2, 12, 64, 64, 3), np.uint8)
        frames[name][..., 0] = level
        frames[name][..., 1] = 20 * np.arange(12)[:, None, None]
        frames[name][1, ..., 2] = 255
    true = frames.pop("truth")
    return Comparison(true, frames, {LAST_FRAME: true, MEAN_IMAGE: true}, 3)


def test_the_picture_shows_truth_above_each_model_for_each_episode(tmp_path: Path) -> None:
    comparison = coloured({"truth": 50, "A": 100, "B": 150})
    picture = imageio.imread(foresight.draw_frames(comparison, tmp_path / "x.png", columns=4))
    blocks = {}
    for (red, green, blue), count in zip(
        *np.unique(picture[..., :3].reshape(-1, 3), axis=0, return_counts=True), strict=True
    ):
        if count > 2000 and red in (50, 100, 150):
            rows, columns = np.nonzero((picture[..., :3] == (red, green, blue)).all(-1))
            blocks[red, green // 20, blue] = rows.mean(), columns.mean()
    steps = [0, 1, 2, 3, 6, 8, 11]  # the context, then four from the first to the last prediction
    assert set(blocks) == {(r, t, b) for r in (50, 100, 150) for t in steps for b in (0, 255)}
    order = [blocks[r, 0, b][0] for b in (0, 255) for r in (50, 100, 150)]
    assert order == sorted(order)
    assert len({round(row) for row in order}) == 6
    across = [blocks[50, t, 0][1] for t in steps]
    assert across == sorted(across)


@pytest.mark.parametrize(("models", "bands"), [(3, 3), (4, 0)])
def test_bands_are_drawn_where_they_do_not_hide_each_other(models: int, bands: int) -> None:
    colours = {"truth": 50, **{f"model {i}": 60 + 20 * i for i in range(models)}}
    axis = Figure().subplots()
    foresight._curves(axis, coloured(colours), "mse")
    assert len(axis.collections) == bands


def test_the_video_shows_time_and_when_the_model_stops_seeing() -> None:
    frames = foresight.mosaic(coloured({"truth": 50, "A": 100}), shown=2)
    assert frames.shape == (12, 2 * (128 + 4), 96 + 2 * 128, 3)
    assert frames[7, 100, 150].tolist() == [50, 140, 0]
    assert frames[7, 100, 300].tolist() == [50, 140, 255]
    assert frames[7, 240, 150].tolist() == [100, 140, 0]
    bar = frames[:, 133, 200].tolist()
    assert bar[:3] == [[170] * 3] * 3
    assert bar[3:] == [[220, 40, 40]] * 9


def test_a_run_is_compared_on_episodes_of_its_own(trained: Path, tmp_path: Path) -> None:
    said: list[str] = []
    options = {"episodes": 2, "length": 10, "announce": said.append}
    files = foresight.run([trained, trained], tmp_path, labels=["A", "B"], **options)
    assert said == ["2 of 2 held-out episodes to play"]
    for path in files.values():
        assert path.stat().st_size > 2000
    assert imageio.imread(files["video"], plugin="FFMPEG").shape[0] == 10
    content = json.loads(files["json"].read_text())
    assert content["task"] == "toys:short"
    assert content["models"].keys() == {"A", "B"}
    assert content["models"]["A"]["mse"] == content["models"]["B"]["mse"]
    assert len(content["models"]["A"]["ssim"]["p95"]) == len(content["steps"]) == 10
    assert content["models"]["A"]["trained"]["episodes"] == 4
    again = foresight.run(trained, tmp_path, **options)  # plays nothing
    assert len(said) == 1
    assert (
        json.loads(again["json"].read_text())["models"]["RSSM"]["mse"]
        == (content["models"]["A"]["mse"])
    )
    foresight.run(trained, tmp_path, seed=1, **options)
    assert len(said) == 2


def test_held_out_episodes_that_are_there_are_taken(trained: Path, tmp_path: Path) -> None:
    said: list[str] = []
    options = {"episodes": 1, "length": 10, "announce": said.append, "held_out": trained / "test"}
    foresight.run(trained, tmp_path, **options)
    assert not said
    assert not (tmp_path / "held-out").exists()
    with pytest.raises(UsageError, match="holds 1 episodes, but 2 were asked for"):
        foresight.run(trained, tmp_path, **options | {"episodes": 2})
    with pytest.raises(UsageError, match="holds 0 episodes, but 1 were asked for"):
        foresight.run(trained, tmp_path, **options | {"held_out": tmp_path / "nowhere"})


def test_what_cannot_be_compared(trained: Path, tmp_path: Path) -> None:
    for wrong in ({"episodes": 0}, {"shown": 0}, {"context": 0}, {"length": 5}):
        with pytest.raises(UsageError, match="must be at least 1"):
            foresight.run(trained, tmp_path, **wrong)
    with pytest.raises(UsageError, match="no run to look into"):
        foresight.run([], tmp_path)
    with pytest.raises(RunError, match="is not a run folder"):
        foresight.run(tmp_path, tmp_path)
    for labels in (["A"], ["A", "A"]):
        with pytest.raises(UsageError, match="give each a label of its own"):
            foresight.run([trained, trained], tmp_path, labels=labels)
    other = tmp_path / "other"
    forged(trained, other, environment={"action_repeat": 3})
    with pytest.raises(UsageError, match=r"environment\.action_repeat is 1 in one and 3 in the"):
        foresight.run([trained, other], tmp_path)


def test_no_key_is_used_up() -> None:
    """The same stretch and seed give the same prediction however many models stand beside."""
    one = compare({"x": known.player(known.Exact())}, episodes(2), mean_image=GREY)
    two = compare(
        {"y": known.player(known.Exact(responds=False)), "x": known.player(known.Exact())},
        episodes(2),
        mean_image=GREY,
    )
    np.testing.assert_array_equal(one.models["x"], two.models["x"])
    assert jax.tree.all(jax.tree.map(np.array_equal, one.true, two.true))
