"""MLflow as a view of the ledger: runs, pages, and the addresses that lead to them."""

import os

# Read by MLflow when it is imported, here and in the processes started from here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # pages need no job workers
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
