"""Tools that check what nodes made: texts, JSON, pictures, sounds, links."""
