"""PostgreSQL: connections, the embedded server, the sources, our own copy of their days, and files read as a source.

No other part of the package knows PostgreSQL.
"""
