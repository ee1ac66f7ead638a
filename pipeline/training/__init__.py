"""Training of the runs from the initial model, on pooled features."""
