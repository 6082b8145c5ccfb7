"""What was decided and what became of it: appended durably, each entry chained to the one before.

entry.py is what is written down, writer.py the one thread of a process that writes, database.py where to;
chain.py finds an entry that was altered.
"""
