"""From a plan to a compiled plan: graph, bindings, keys, checks, and what can be told before a run."""
