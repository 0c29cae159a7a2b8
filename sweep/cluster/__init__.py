"""Where packs run: on this machine or on a cluster of Ray, and how a sweep gets there."""
