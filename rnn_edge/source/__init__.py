"""A person's own module: from a Python file, with weights from elsewhere and declared inputs."""
