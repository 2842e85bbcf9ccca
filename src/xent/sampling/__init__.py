"""Samplers of classes, for losses over a few classes instead of all."""
