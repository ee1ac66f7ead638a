"""Corpora: fetching, planning, rendering, and the manifests of all clips."""
