"""Episodes, kept safely on disk, and batches of chunks drawn from them."""

from armillary.replay.episodes import Episode, EpisodeStore
from armillary.replay.sampler import Batch, ChunkSampler, prefetch

__all__ = ["Batch", "ChunkSampler", "Episode", "EpisodeStore", "prefetch"]
