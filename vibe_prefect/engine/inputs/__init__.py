"""What a run is given: the plan in its forms, folders within the operator's bounds, tools."""
