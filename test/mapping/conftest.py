"""Fixtures of the tests of mapping."""

from learned_wall import learned_wall

__all__ = ["learned_wall"]
