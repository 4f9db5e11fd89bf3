"""A control loop that brings a running cluster to what is wanted of it, whoever is lost and whoever comes back."""
