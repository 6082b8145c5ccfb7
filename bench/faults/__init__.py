"""What the service withstands: each module tries one kind of harm and measures; prove.py runs them all."""
