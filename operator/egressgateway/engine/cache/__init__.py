"""What is known of the cluster: caches, their indexes and their bounds."""
