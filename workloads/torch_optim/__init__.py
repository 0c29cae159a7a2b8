"""AdamO and continual backprop for anybody's training script: a plain optimizer, and one call beside any.

They need torch and nothing of the service: no sweep, no Ray, no MLflow. Their arithmetic is that of
`workloads.methods`, which sweeps train by.
"""

from workloads.torch_optim.adamo import AdamO
from workloads.torch_optim.continual_backprop import ContinualBackprop

__all__ = ["AdamO", "ContinualBackprop"]
