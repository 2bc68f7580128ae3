"""Agents: three pure functions each, `init`, `update` and `act`."""
