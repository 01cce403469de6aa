"""HTTP in, one call of the service, HTTP out."""
