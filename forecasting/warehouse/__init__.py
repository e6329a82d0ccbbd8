"""PostgreSQL, and nothing else in the package knows it: the embedded server, connections, and the sources read from."""
