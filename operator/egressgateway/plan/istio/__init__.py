"""Provider Istio: destinations and exposed hosts become workload and routing."""
