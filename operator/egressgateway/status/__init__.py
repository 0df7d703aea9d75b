"""Status: findings and results become conditions that tell the truth. Pure."""
