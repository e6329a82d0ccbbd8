"""What a request passes on its way to the routes: connection, access log, guards, limits, response cache."""
