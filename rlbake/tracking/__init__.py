"""MLflow: runs, dataset lineage, and the agent as a model."""
