"""The commands about plans and runs, one file each."""
