"""The commands around servers, deployments, workers and stored plans."""
