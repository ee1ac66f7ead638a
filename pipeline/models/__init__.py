"""Towers, VAST, captioner, heads, and the maps from released checkpoints to them."""
