"""Images: an OCI distribution server on a folder, Azure Blob, S3 or Google Cloud Storage."""
