"""What a request passes before the routes, in this order: connection, journal, guards, limits, replay."""
