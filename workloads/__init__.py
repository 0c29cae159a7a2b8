"""The science: streams, networks, methods, diagnostics, and the engine that trains packs of them.

Nothing in here knows of Ray, MLflow or Optuna.
"""
