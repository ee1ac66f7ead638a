"""Reporting: tables and figures from what other stages stored; no model, no torch."""
