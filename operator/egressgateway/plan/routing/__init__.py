"""What every provider plans alike: how children are named and owned, the clients' leg, the ways out, their headers."""
