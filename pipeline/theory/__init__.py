"""The paper's theory as measurements: corollaries, conflicts in training, growth with M, shared content."""
