"""Whose data it is, and how much of it we take."""
