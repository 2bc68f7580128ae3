"""Learned world models for planning and control from pixels."""

from __future__ import annotations

__version__ = "0.1.0"
