"""Text and bytes from elsewhere: encodings, JSON, escapes, units."""
