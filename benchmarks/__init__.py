import os

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # read once, when Prefect is imported
