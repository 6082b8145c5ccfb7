"""The commands of `cds-service`, one module a group; cli.py puts them together."""
