"""What every provider plans alike: names and owners of children, the clients' leg, the upstreams, their headers."""
