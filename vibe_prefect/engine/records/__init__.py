"""Records: where results are kept, locked, checked and read again."""
