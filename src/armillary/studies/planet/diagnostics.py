"""What a latent state knows of the simulator's (PlaNet, Appendix I, Figure 11).

The model stays as it is. Small networks, one for each quantity, learn from posterior states to tell
positions, velocities and reward. Then, on other episodes, they tell them from states that the model
imagines, which shows how far ahead the model knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, PRNGKeyArray, Shaped

from armillary import seeding
from armillary.dynamics.prediction import CONTEXT, LENGTH
from armillary.dynamics.world_model import WorldModel
from armillary.errors import UsageError
from armillary.nets.pieces import images_on_cpu, in_pieces
from armillary.studies.planet.probes import CONSTANT, ProbeConfig, fit
from armillary.studies.states import REWARD, Recording


class Chunk(NamedTuple):
    """Stretches of recordings, as many rows each.

    Attributes:
        observation: o_t, each field by its name.
        action: `action[:, t]` leads to row t.
        target: the quantities at the same rows.
    """

    observation: dict[str, Shaped[np.ndarray, "batch time *shape"]]
    action: Float32[np.ndarray, "batch time action"]
    target: Float64[np.ndarray, "batch time quantities"]


@dataclass(frozen=True)
class Diagnosis:
    """What the probes said of held-out stretches, beside the truth.

    Attributes:
        names: of the K quantities, `group/name`.
        context: rows that the model saw; the others it imagined.
        true: in the quantities' own units.
        predicted: by the probes: from posterior states in the context, from imagined ones after.
        posterior: by the probes from posterior states all along: what an open eye would say.
        mean: over the probes' training rows, what a guess that knows nothing says.
        std: over the same rows, the unit of the errors.
    """

    names: tuple[str, ...]
    context: int
    true: Float64[np.ndarray, "stretches time quantities"]
    predicted: Float64[np.ndarray, "stretches time quantities"]
    posterior: Float64[np.ndarray, "stretches time quantities"]
    mean: Float64[np.ndarray, " quantities"]
    std: Float64[np.ndarray, " quantities"]

    def error(self, baseline: bool = False) -> Float64[np.ndarray, "ahead quantities"]:
        """Returns the root mean squared error at each step ahead, in standard deviations.

        Over stretches. NaN for a quantity that did not vary in training.

        Args:
            baseline: of the training mean, in place of the probes.
        """
        guess = self.mean if baseline else self.predicted
        error = np.sqrt(((guess - self.true)[:, self.context :] ** 2).mean(0))
        return error / np.where(self.std > CONSTANT, self.std, np.nan)

    def r2(self) -> Float64[np.ndarray, "ahead quantities"]:
        """Returns R^2 at each step ahead: 1 - (squared error / that of the training mean)."""
        rows = np.s_[:, self.context :]
        return self._r2(self.predicted[rows], self.true[rows], (0,))

    def overall_r2(self) -> Float64[np.ndarray, " quantities"]:
        """Returns R^2 over all steps ahead together."""
        rows = np.s_[:, self.context :]
        return self._r2(self.predicted[rows], self.true[rows], (0, 1))

    def posterior_r2(self) -> Float64[np.ndarray, " quantities"]:
        """Returns R^2 at the same rows of what posterior states tell, the model's eyes open."""
        rows = np.s_[:, self.context :]
        return self._r2(self.posterior[rows], self.true[rows], (0, 1))

    def as_dict(self) -> dict[str, Any]:
        """Returns the errors by quantity, ready for JSON; null where a quantity did not vary."""
        tables = {
            "error": self.error().T,
            "baseline_error": self.error(baseline=True).T,
            "r2": self.r2().T,
            "overall_r2": self.overall_r2(),
            "posterior_r2": self.posterior_r2(),
            "mean": self.mean,
            "std": self.std,
        }
        return {
            name: {key: _jsonable(table[i]) for key, table in tables.items()}
            for i, name in enumerate(self.names)
        }

    def _r2(self, predicted: np.ndarray, true: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        left = ((predicted - true) ** 2).sum(axes)
        whole = ((self.mean - true) ** 2).sum(axes)
        varies = (self.std > CONSTANT) & (whole > 0)
        return np.where(varies, 1 - left / np.where(varies, whole, 1), np.nan)


def diagnose(
    model: WorldModel,
    bits: int,
    train: Sequence[Recording],
    test: Sequence[Recording],
    *,
    context: int = CONTEXT,
    length: int = LENGTH,
    seed: int = 0,
    config: ProbeConfig | None = None,
) -> Diagnosis:
    """Fits probes to the posterior states of some episodes, and tests them open loop on others.

    Row 0 of an episode, the reset, has no reward: the probes learn from the rows after it.

    Args:
        model: is not changed.
        bits: bit depth of the model's images.
        train: episodes whose posterior states the probes learn from.
        test: other episodes. Each is cut into as many stretches as it has room for.
        context: rows that the model sees at the beginning of a stretch.
        length: rows of a stretch; fewer if an episode is shorter.
        seed: of the sampled states and of the probes; the same gives the same on one machine.
        config: of the probes.

    Raises:
        UsageError: there is no episode, the recordings have other quantities, or no row is left to
            imagine after the context.
    """
    if not train or not test:
        raise UsageError(
            f"{len(train)} episodes to train the probes and {len(test)} to test them were given, "
            "but at least one of each is needed"
        )
    names = quantities(train[0])
    stretches = cut(test, names, length)
    rows = stretches.action.shape[1]
    if context < 1 or rows <= context:
        raise UsageError(
            f"nothing is left to imagine of stretches of {rows} rows after "
            f"{context} of context: the context must be at least 1 and less than that"
        )
    observe = partial(latent_features, model, bits=bits)
    inputs, targets = [], []
    for index, recording in enumerate(train):
        whole = cut([recording], names, recording.episode.steps + 1)
        key = seeding.key(seed, "observe", index)
        features = observe(whole.observation, whole.action, key, context=None)
        inputs.append(np.asarray(features)[0, 1:])
        targets.append(whole.target[0, 1:])
    known = np.concatenate(targets)
    probe = fit(np.concatenate(inputs), known, seeding.key(seed, "probe"), config)
    key = seeding.key(seed, "stretches")

    def tell(seen: int | None) -> np.ndarray:
        features = observe(stretches.observation, stretches.action, key, context=seen)
        return np.asarray(probe(features), np.float64)

    told = {"predicted": tell(context), "posterior": tell(None)}
    scales = {"mean": known.mean(0), "std": known.std(0)}
    return Diagnosis(names, context, stretches.target, **told, **scales)


def quantities(recording: Recording) -> tuple[str, ...]:
    """Returns the names of what the probes predict: the state's, and the reward."""
    return (*recording.state, REWARD)


def cut(recordings: Sequence[Recording], names: tuple[str, ...], length: int) -> Chunk:
    """Cuts episodes into stretches one after another, all as long as the shortest allows.

    Args:
        recordings: of the same quantities.
        names: which.
        length: rows of a stretch, if every episode is so long.

    Raises:
        UsageError: a recording has other quantities.
    """
    length = min(length, *(recording.episode.steps + 1 for recording in recordings))
    chunks: list[Chunk] = []
    for recording in recordings:
        if quantities(recording) != names:
            raise UsageError(
                f"one episode has the quantities {list(names)}, another "
                f"{list(quantities(recording))}: all must be of the same environment"
            )
        episode, count = recording.episode, (recording.episode.steps + 1) // length
        columns = [*recording.state.values(), episode.reward.astype(np.float64)]
        whole = Chunk(dict(episode.observation), episode.action, np.stack(columns, axis=1))
        chunks.append(jax.tree.map(partial(_in_stretches, count=count, length=length), whole))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)


def _in_stretches(rows: np.ndarray, count: int, length: int) -> np.ndarray:
    return rows[: count * length].reshape(count, length, *rows.shape[1:])


@eqx.filter_jit
def latent_features(
    model: WorldModel,
    observations: Mapping[str, Shaped[Array | np.ndarray, "batch time *shape"]],
    actions: Float[Array | np.ndarray, "batch time action"],
    key: PRNGKeyArray,
    *,
    bits: int,
    context: int | None = None,
) -> Float[Array, "batch time features"]:
    """Returns what the model's heads see: of posterior states, then of imagined ones.

    Args:
        model: the world model.
        observations: o_1..o_T, of which only the first `context` are seen.
        actions: `actions[:, t]` leads to row t.
        key: of the sampled states.
        bits: bit depth of the model's images.
        context: None: all are seen.
    """
    count, time = actions.shape[:2]
    context = time if context is None else context
    image_key, belief_key, future_key = jax.random.split(key, 3)
    seen = jax.tree.map(
        lambda x: x[:, :context].reshape(count * context, *x.shape[2:]), dict(observations)
    )

    def encode(piece: dict[str, Array], key: PRNGKeyArray | None) -> Array:
        return model.encoder(model.encoder.prepare(piece, bits, key))

    piece = images_on_cpu(model.encoder)
    embeddings = in_pieces(encode, seen, piece, image_key).reshape(count, context, -1)
    steps = jnp.swapaxes(actions, 0, 1)
    states, _ = model.dynamics.observe(jnp.swapaxes(embeddings, 0, 1), steps[:context], belief_key)
    features = model.dynamics.features(states)
    if context < time:
        last = jax.tree.map(lambda x: x[-1], states)
        imagined = model.dynamics.imagine(last, steps[context:], future_key)
        features = jnp.concatenate([features, model.dynamics.features(imagined)])
    return jnp.swapaxes(features, 0, 1)


def _jsonable(values: np.ndarray) -> Any:
    listed = np.where(np.isfinite(values), values, np.array(None, object))
    return listed.tolist()
