"""Media: frames and waveforms out of clips, and the shards that hold them."""
