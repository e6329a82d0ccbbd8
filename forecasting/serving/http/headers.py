"""Headers of our responses."""

Header = tuple[bytes, bytes]

# For responses that are data, not pages. HSTS is up to the proxy, since only it knows whether there is TLS.
SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
JSON: Header = (b"content-type", b"application/json")
CLOSE: Header = (b"connection", b"close")
RETRY_AFTER = {"retry-after": "3"}  # seconds, with a 503: TorchServe replaces a killed worker in 2 to 3
