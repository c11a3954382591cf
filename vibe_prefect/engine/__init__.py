"""The Prefect layer: the flow, its tasks, and what keeps and paces them."""
