"""A Django project on disk: read without importing it, described, tried out, fetched with its key."""
