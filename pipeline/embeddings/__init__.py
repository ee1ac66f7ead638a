"""Embeddings of all corpora by a trained model."""
