"""Training a pack: what one is, how it is assembled from a config, its loop and its probes."""
