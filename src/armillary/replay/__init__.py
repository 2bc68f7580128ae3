"""Episodes, kept safely on disk, and batches of windows drawn from them."""

from armillary.replay.episode import Episode
from armillary.replay.episodes import EpisodeStore
from armillary.replay.sampler import Batch, WindowSampler, prefetch

__all__ = ["Batch", "Episode", "EpisodeStore", "WindowSampler", "prefetch"]
