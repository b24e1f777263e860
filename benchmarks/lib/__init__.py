"""What the measurements share: servers, clients, data, timing and reports."""
