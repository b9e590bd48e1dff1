"""Certificates for web traffic: read from the operator's folder, checked, kept, and chosen for each host."""
