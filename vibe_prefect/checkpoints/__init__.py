"""The contract's checkpoints: what a run had finished, as files that a later run starts from."""
